//! Where the client id and the client secret come from.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A client id and its secret, as Layer issued them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    client_id: String,
    client_secret: Secret,
}

impl Credentials {
    /// Takes both. They are checked when the client is built or, from a
    /// provider, when they are read.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<Secret>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
        }
    }

    /// The client id. Not a secret.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn client_secret(&self) -> &Secret {
        &self.client_secret
    }

    /// What every source's credentials must hold to.
    pub(crate) fn check(&self, encoding: BasicEncoding) -> Result<()> {
        check_client_id(&self.client_id, encoding)?;
        if self.client_secret.is_empty() {
            return Err(Error::config(
                "client_secret",
                "client_secret is empty",
                "set client_secret, LAYER_CLIENT_SECRET or LAYER_CLIENT_SECRET_FILE",
            ));
        }
        // RFC 6749 appendix A.2 allows visible ASCII and blanks.
        if self
            .client_secret
            .expose()
            .bytes()
            .any(|b| b.is_ascii_control())
        {
            return Err(Error::config(
                "client_secret",
                "client_secret holds a control character, perhaps a line end",
                "copy it again, without the line end",
            ));
        }
        Ok(())
    }
}

/// Checks an id where it is known before its secret.
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
            "client_id holds a control character, perhaps a line end",
            "copy it again, without the line end",
        ));
    }
    if encoding == BasicEncoding::Raw && client_id.contains(':') {
        return Err(Error::config(
            "client_id",
            "client_id holds a colon, which cannot be told from the secret under raw Basic",
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

/// How id and secret go into the Basic header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BasicEncoding {
    /// As they are, like `curl -u` and Layer's own documentation.
    #[default]
    Raw,
    /// Form-urlencoded first, as RFC 6749 section 2.3.1 has it. The same as
    /// raw for letters and digits; servers differ on all else.
    Form,
}

/// Your own place for credentials, such as a vault.
///
/// It is asked before each token request, and again when the server refuses
/// the credentials, so that a rotated secret is taken up without a new client.
/// It may be called from any thread, and must not block it (`spawn_blocking` is
/// for that): other callers' requests may run in it. Keep secrets out of the error's text: it
/// is shown.
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Reads the credentials as they are now. Dropped when the call's time runs out.
    fn credentials(
        &self,
    ) -> impl Future<Output = Result<Credentials, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// The provider trait in a form that can be kept in a box.
trait ErasedProvider: Send + Sync {
    fn read(&self) -> BoxFuture<'_, Result<Credentials>>;
}

impl<P: CredentialsProvider> ErasedProvider for P {
    fn read(&self) -> BoxFuture<'_, Result<Credentials>> {
        Box::pin(async move {
            self.credentials().await.map_err(|error| {
                Error::new(
                    ErrorKind::Credentials,
                    format!("the credentials provider failed: {error}"),
                    "see what the provider says; a retry may help",
                )
            })
        })
    }
}

/// One of the three places.
#[derive(Clone)]
pub(crate) enum CredentialsSource {
    Given(Credentials),
    SecretFile { client_id: String, path: PathBuf },
    Provider(Provider),
}

#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn ErasedProvider>);

impl CredentialsSource {
    pub(crate) fn provider(provider: impl CredentialsProvider) -> Self {
        Self::Provider(Provider(Arc::new(provider)))
    }

    /// Whether reading again may give other credentials.
    pub(crate) fn can_change(&self) -> bool {
        match self {
            Self::Given(_) => false,
            Self::SecretFile { .. } | Self::Provider(_) => true,
        }
    }

    /// What can be known to be wrong before the first request.
    pub(crate) fn check(&self, encoding: BasicEncoding) -> Result<()> {
        match self {
            Self::Given(credentials) => credentials.check(encoding),
            Self::SecretFile { client_id, .. } => check_client_id(client_id, encoding),
            Self::Provider(_) => Ok(()),
        }
    }

    /// Reads them as they are now, and checks them.
    pub(crate) async fn read(&self, encoding: BasicEncoding) -> Result<Credentials> {
        let credentials = match self {
            Self::Given(credentials) => return Ok(credentials.clone()),
            Self::SecretFile { client_id, path } => {
                let path = path.clone();
                // A mounted secret may lie on a network: never block the runtime.
                let secret = tokio::task::spawn_blocking(move || read_secret_file(&path))
                    .await
                    .map_err(|_| {
                        Error::new(
                            ErrorKind::Internal,
                            "reading the secret file was cut short",
                            "the runtime is shutting down",
                        )
                    })??;
                Credentials::new(client_id.clone(), secret)
            }
            Self::Provider(provider) => provider.0.read().await?,
        };
        credentials.check(encoding)?;
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

/// The longest secret file that is read; real secrets have some 50 bytes.
const LONGEST_SECRET_FILE: u64 = 64 * 1024;

fn read_secret_file(path: &std::path::Path) -> Result<Secret> {
    use std::io::Read as _;

    let failed = |why: String| {
        Error::with_details(
            ErrorKind::Credentials,
            format!("client_secret_file {path:?} {why}"),
            "check client_secret_file or LAYER_CLIENT_SECRET_FILE, and who may read it",
            crate::error::Details {
                field: Some("client_secret_file"),
                ..Default::default()
            },
        )
    };
    let unreadable = |error: std::io::Error| failed(format!("cannot be read ({error})"));
    // Looked at before it is opened, which would wait at a pipe; and a pipe
    // (`<(vault ...)`) would be empty when the file is read again.
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(failed("is not a regular file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = about.len();
    // Room for it all from the start: a growing buffer leaves copies behind.
    let room = usize::try_from(size.min(LONGEST_SECRET_FILE)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LONGEST_SECRET_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_SECRET_FILE {
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
    fn what_is_refused_names_the_setting() {
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
    fn a_secret_file_loses_its_line_end_only() {
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
