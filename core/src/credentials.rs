//! Client credentials and where they come from.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// Client id and client secret, as Layer issued them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    client_id: String,
    client_secret: Secret,
}

impl Credentials {
    /// Makes credentials. They are validated when the client is built or, from a
    /// provider, when they are read.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<Secret>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
        }
    }

    /// Client id. It is not a secret.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn client_secret(&self) -> &Secret {
        &self.client_secret
    }

    /// Validates credentials of any source.
    pub(crate) fn check(&self, encoding: BasicEncoding) -> Result<()> {
        check_client_id(&self.client_id, encoding)?;
        if self.client_secret.is_empty() {
            return Err(Error::config(
                "client_secret",
                "client_secret is missing or empty",
                "set client_secret, LAYER_CLIENT_SECRET or LAYER_CLIENT_SECRET_FILE",
            ));
        }
        // RFC 6749 appendix A.2 allows printable ASCII and spaces.
        if self
            .client_secret
            .expose()
            .bytes()
            .any(|b| b.is_ascii_control())
        {
            return Err(Error::config(
                "client_secret",
                "client_secret has a control character, such as a line end",
                "copy it again, without the line end",
            ));
        }
        Ok(())
    }
}

/// Validates an id that is known before its secret.
pub(crate) fn check_client_id(client_id: &str, encoding: BasicEncoding) -> Result<()> {
    if client_id.is_empty() {
        return Err(Error::config(
            "client_id",
            "client_id is missing or empty",
            "set client_id or LAYER_CLIENT_ID",
        ));
    }
    if client_id.bytes().any(|b| b.is_ascii_control()) {
        return Err(Error::config(
            "client_id",
            "client_id has a control character, such as a line end",
            "copy it again, without the line end",
        ));
    }
    if encoding == BasicEncoding::Raw && client_id.contains(':') {
        return Err(Error::config(
            "client_id",
            "client_id has a colon, which ends the id in a raw Basic header",
            "set basic_encoding to form if your server decodes it (RFC 6749 section 2.3.1)",
        ));
    }
    Ok(())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .finish()
    }
}

/// Encoding of id and secret in the Basic header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BasicEncoding {
    /// Id and secret unchanged, as `curl -u` and Layer's documentation do.
    #[default]
    Raw,
    /// Form-urlencoded first, as in RFC 6749 section 2.3.1. The same as raw for
    /// letters and digits; servers differ on all other characters.
    Form,
}

/// Source of credentials that a program implements, such as a vault client.
///
/// It is called before each token request, and again when the server refuses the
/// credentials, so that a rotated secret is used without a new client.
///
/// Its futures run on a separate thread, in a Tokio runtime that this library
/// creates for each client. They may block: that delays no other client. Keep
/// secrets out of the text of the error, because it is shown.
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Reads the current credentials. The future is dropped at the deadline of
    /// the call.
    fn credentials(
        &self,
    ) -> impl Future<Output = Result<Credentials, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// Provider trait in a form that can be boxed.
trait ErasedProvider: Send + Sync {
    fn read(&self) -> BoxFuture<'_, Result<Credentials>>;
}

impl<P: CredentialsProvider> ErasedProvider for P {
    fn read(&self) -> BoxFuture<'_, Result<Credentials>> {
        Box::pin(async move {
            self.credentials().await.map_err(|error| {
                let what = format!("the credentials provider failed: {error}");
                let remedy = "see the provider's message; a retry may help";
                Error::new(ErrorKind::Credentials, what, remedy).caused_by(Arc::from(error))
            })
        })
    }
}

/// Source of a client's credentials.
#[derive(Clone)]
pub(crate) enum CredentialsSource {
    Given(Credentials),
    SecretFile { client_id: String, path: PathBuf },
    Provider(Provider),
}

/// Provider that the user gave.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn ErasedProvider>);

impl CredentialsSource {
    pub(crate) fn provider(provider: impl CredentialsProvider) -> Self {
        Self::Provider(Provider(Arc::new(provider)))
    }

    /// Whether reading again may return other credentials.
    pub(crate) fn can_change(&self) -> bool {
        match self {
            Self::Given(_) => false,
            Self::SecretFile { .. } | Self::Provider(_) => true,
        }
    }

    /// Validates the parts that are known before the first request.
    pub(crate) fn check(&self, encoding: BasicEncoding) -> Result<()> {
        match self {
            Self::Given(credentials) => credentials.check(encoding),
            Self::SecretFile { client_id, .. } => check_client_id(client_id, encoding),
            Self::Provider(_) => Ok(()),
        }
    }

    /// Reads the current credentials and validates them. Reading a file blocks,
    /// and a provider may block, so call it only on a thread that may block.
    pub(crate) async fn read(&self, encoding: BasicEncoding) -> Result<Credentials> {
        let (credentials, source) = match self {
            Self::Given(credentials) => return Ok(credentials.clone()),
            Self::SecretFile { client_id, path } => {
                let secret = read_secret_file(path)?;
                let source = format!("client_secret_file {path:?}");
                (Credentials::new(client_id.clone(), secret), source)
            }
            Self::Provider(provider) => {
                let source = "the credentials provider".to_owned();
                (provider.0.read().await?, source)
            }
        };
        credentials.check(encoding).map_err(|error| {
            // Not a configuration error, because the next read may return valid
            // credentials.
            let what = format!("{source} has no valid credentials: {}", error.message());
            let field = match self {
                Self::SecretFile { .. } => "client_secret_file",
                _ => error.field().unwrap_or("client_secret"),
            };
            let remedy = "correct the credentials; the next call reads them again";
            Error::of_field(ErrorKind::Credentials, field, what, remedy)
        })?;
        Ok(credentials)
    }
}

impl fmt::Debug for CredentialsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(credentials) => credentials.fmt(f),
            Self::SecretFile { client_id, path } => f
                .debug_struct("SecretFile")
                .field("client_id", client_id)
                .field("path", path)
                .finish(),
            Self::Provider(_) => f.write_str("Provider"),
        }
    }
}

/// Largest secret file that is read, in bytes; real secrets have about 50.
const MAX_SECRET_FILE: u64 = 64 * 1024;

fn read_secret_file(path: &Path) -> Result<Secret> {
    use std::io::Read as _;

    let failed = |why: String| {
        Error::of_field(
            ErrorKind::Credentials,
            "client_secret_file",
            format!("client_secret_file {path:?} {why}"),
            "check the path and permissions of client_secret_file or LAYER_CLIENT_SECRET_FILE",
        )
    };
    let unreadable = |error: std::io::Error| failed(format!("cannot be read ({error})"));
    // Checked before the file is opened: opening a pipe waits, and a pipe
    // (`<(vault ...)`) is empty at the second read.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(failed("is not a regular file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = metadata.len();
    // The full size is allocated first: a growing buffer would leave copies in
    // freed memory.
    let capacity = usize::try_from(size.min(MAX_SECRET_FILE)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_SECRET_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SECRET_FILE {
        return Err(failed("is larger than 64 KiB".to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("is not UTF-8 text".to_owned()))?;
    // Editors and `echo` end a file with a line end that is not part of it.
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_credentials_name_the_setting() {
        for (id, secret, encoding, field) in [
            ("", "s", BasicEncoding::Raw, "client_id"),
            ("a\n", "s", BasicEncoding::Raw, "client_id"),
            ("a:b", "s", BasicEncoding::Raw, "client_id"),
            ("a", "", BasicEncoding::Raw, "client_secret"),
            ("a", "s\n", BasicEncoding::Form, "client_secret"),
        ] {
            let error = Credentials::new(id, secret).check(encoding).unwrap_err();
            assert_eq!(error.field(), Some(field), "{id:?}");
        }
        assert!(
            Credentials::new("a:b", "s")
                .check(BasicEncoding::Form)
                .is_ok()
        );
        assert!(
            Credentials::new("a", "s: %+ü")
                .check(BasicEncoding::Raw)
                .is_ok()
        );
    }

    #[test]
    fn b20_debug_is_redacted() {
        let credentials = Credentials::new("id", "canary-secret");
        let source = CredentialsSource::Given(credentials.clone());
        assert!(!format!("{credentials:?} {source:?}").contains("canary"));
    }

    #[test]
    fn secret_file_is_read_without_its_line_end() {
        let path = std::env::temp_dir().join(format!("layerfi-secret-{}", std::process::id()));
        std::fs::write(&path, "  se cret \r\n").unwrap();
        let secret = read_secret_file(&path);
        std::fs::write(&path, vec![b'x'; 65 * 1024]).unwrap();
        let large = read_secret_file(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.unwrap().expose(), "  se cret ");
        assert_eq!(large.unwrap_err().kind(), ErrorKind::Credentials);
        let missing = read_secret_file(&path).unwrap_err();
        assert_eq!(missing.field(), Some("client_secret_file"));
        let folder = read_secret_file(&std::env::temp_dir()).unwrap_err();
        assert!(folder.message().contains("not a regular file"), "{folder}");
    }
}
