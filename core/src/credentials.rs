//! Client credentials and where they come from.

mod look;

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
        match secret_problem(self.client_secret.expose()) {
            None => Ok(()),
            Some(problem) => Err(Error::config(
                "client_secret",
                format!("client_secret {problem}"),
                "set {client_secret} to the secret that Layer issued, without a line end",
            )),
        }
    }

    /// What to do about credentials that look wrong. The text never contains them.
    pub(crate) fn hint(&self) -> Option<String> {
        let secret = look::secret(self.client_secret.expose(), &self.client_id);
        let secret = secret.map(|look| format!("the secret {look}"));
        secret.or_else(|| look::any(&self.client_id).map(|look| format!("the client id {look}")))
    }
}

/// Why a secret of any source cannot be used. RFC 6749 appendix A.2 allows
/// printable ASCII and spaces.
fn secret_problem(secret: &str) -> Option<&'static str> {
    let is_line_end = |c| matches!(c, '\n' | '\r');
    if secret.is_empty() {
        Some("is empty")
    } else if secret.trim_matches(is_line_end).contains(is_line_end) {
        Some("has more than one line")
    } else if secret.contains(is_line_end) {
        Some("starts or ends with a line end")
    } else if secret.bytes().any(|b| b.is_ascii_control()) {
        Some("has a control character")
    } else {
        None
    }
}

/// Validates an id that is known before its secret.
pub(crate) fn check_client_id(client_id: &str, encoding: BasicEncoding) -> Result<()> {
    if client_id.is_empty() {
        return Err(Error::config(
            "client_id",
            "client_id is empty",
            "set {client_id} to the id that Layer issued",
        ));
    }
    if client_id.bytes().any(|b| b.is_ascii_control()) {
        return Err(Error::config(
            "client_id",
            "client_id has a control character, such as a line end",
            "set {client_id} to the id that Layer issued, without a line end",
        ));
    }
    if encoding == BasicEncoding::Raw && client_id.contains(':') {
        return Err(Error::config(
            "client_id",
            "client_id has a colon, which ends the id in a raw Basic header",
            "set {client_id} to the id alone, without the secret; if your server's ids have \
             colons, set {basic_encoding} to form",
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
/// secrets out of the text of the error, because it is shown. A call of the same
/// client that would wait fails there, because it waits for the provider.
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
                let remedy = "see the provider's own message; the next call asks it again";
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

/// Where credentials come from, for the remedy if the server refuses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Given,
    SecretFile,
    Provider,
}

/// Provider that the user gave.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn ErasedProvider>);

impl CredentialsSource {
    pub(crate) fn provider(provider: impl CredentialsProvider) -> Self {
        Self::Provider(Provider(Arc::new(provider)))
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Given(_) => Origin::Given,
            Self::SecretFile { .. } => Origin::SecretFile,
            Self::Provider(_) => Origin::Provider,
        }
    }

    /// Whether reading again may return other credentials.
    pub(crate) fn can_change(&self) -> bool {
        self.origin() != Origin::Given
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
        let credentials = match self {
            Self::Given(credentials) => return Ok(credentials.clone()),
            Self::SecretFile { client_id, path } => {
                Credentials::new(client_id.clone(), read_secret_file(path)?)
            }
            Self::Provider(provider) => provider.0.read().await?,
        };
        // Not configuration errors, because the next read may return valid
        // credentials.
        match self {
            Self::Given(_) => {}
            Self::SecretFile { path, .. } => {
                if let Some(problem) = secret_problem(credentials.client_secret.expose()) {
                    let remedy = "write the secret, and nothing else, to the file that \
                                  {client_secret_file} names; the next call reads it again";
                    return Err(secret_file_error(path, problem, remedy));
                }
            }
            Self::Provider(_) => credentials.check(encoding).map_err(|error| {
                let what = format!(
                    "the credentials provider returned invalid credentials: {}",
                    error.message()
                );
                let field = error.field().unwrap_or("client_secret");
                let remedy = "correct what the provider returns; the next call asks it again";
                Error::of_field(ErrorKind::Credentials, field, what, remedy)
            })?,
        }
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

fn secret_file_error(path: &Path, why: &str, remedy: &'static str) -> Error {
    Error::of_field(
        ErrorKind::Credentials,
        "client_secret_file",
        format!("client_secret_file {path:?} {why}"),
        remedy,
    )
}

fn read_secret_file(path: &Path) -> Result<Secret> {
    use std::io::Read as _;

    let failed = |why: &str| {
        let remedy = "set {client_secret_file} to a text file in UTF-8 that contains only the \
                      secret; the next call reads it again";
        secret_file_error(path, why, remedy)
    };
    let unreadable = |error: std::io::Error| {
        let remedy = "check the path in {client_secret_file}, and the permissions of the file; the \
                      next call reads it again";
        secret_file_error(path, &format!("cannot be read ({error})"), remedy)
    };
    // Checked before the file is opened: opening a pipe waits, and a pipe
    // (`<(vault ...)`) is empty at the second read.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(failed("is a directory"));
    }
    if !metadata.is_file() {
        return Err(failed("is not a regular file"));
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
        return Err(failed("is larger than 64 KiB"));
    }
    // PowerShell 5 writes UTF-16 by default, and other editors a byte order mark.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(failed("is UTF-16 text, not UTF-8"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("is not UTF-8 text"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
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
        assert!(folder.message().contains("is a directory"), "{folder}");
    }
}
