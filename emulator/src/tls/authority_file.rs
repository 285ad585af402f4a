//! The file that keeps a certificate authority, so that a browser has to trust it
//! only once.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::error::EmulatorError;
use crate::tls::authority::Authority;

/// Begins the line of the file with the hosts that the authority may certify.
const HOSTS: &str = "Hosts: ";

/// The authority of the file, for `names`. Makes the file if it does not exist.
pub(crate) fn load_or_create(path: &Path, names: Vec<String>) -> Result<Authority, EmulatorError> {
    let failed = |source| EmulatorError::AuthorityFile {
        path: path.to_owned(),
        source,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => return load(path, &text, names),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let (authority, key) = Authority::to_keep(names.clone())?;
    let text = format!(
        "Certificate authority of the layerfi-auth emulator. It can certify only these hosts.\n\
         {HOSTS}{}\n\n{}\n{key}",
        names.join(" "),
        authority.pem()
    );
    match create(path, &text) {
        Ok(()) => Ok(authority),
        // Another emulator has made the file in the meantime.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(path).map_err(failed)?;
            load(path, &text, names)
        }
        Err(error) => Err(failed(error)),
    }
}

fn load(path: &Path, text: &str, names: Vec<String>) -> Result<Authority, EmulatorError> {
    let invalid = |why: &str| {
        EmulatorError::Invalid(format!(
            "authority_file {} cannot be used: {why}; delete it to make a new authority",
            path.display()
        ))
    };
    let key = block(text, "PRIVATE KEY").ok_or_else(|| invalid("it has no private key in PEM"))?;
    let certificate =
        block(text, "CERTIFICATE").ok_or_else(|| invalid("it has no certificate in PEM"))?;
    // A client would only say that a name is not permitted.
    if let Some(hosts) = text.lines().find_map(|line| line.strip_prefix(HOSTS)) {
        let is_missing = |name: &&String| !hosts.split(' ').any(|host| host == name.as_str());
        if let Some(name) = names.iter().find(is_missing) {
            return Err(invalid(&format!("it cannot certify the host {name}")));
        }
    }
    Authority::kept(key, certificate, names).map_err(invalid)
}

/// The first PEM block of a kind, with its first and last line.
fn block<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let end = format!("-----END {kind}-----\n");
    let from = text.find(&format!("-----BEGIN {kind}-----"))?;
    let rest = text.get(from..)?;
    rest.get(..rest.find(&end)? + end.len())
}

/// Creates the file at once with its content, readable only by its owner. Fails if
/// it exists.
fn create(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    let removed = std::fs::remove_file(&unfinished);
    written.and(removed)
}
