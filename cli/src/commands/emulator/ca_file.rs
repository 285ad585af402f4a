//! The file with the emulator's CA certificate.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use layerfi_auth_emulator::Emulator;
use tempfile::NamedTempFile;

use crate::failure::Failure;

/// The file with the CA certificate. A temporary file is removed on drop.
pub(super) enum CaFile {
    /// The path given with `--ca-out`.
    Given(PathBuf),
    /// A random name. A name with the process id could collide with the file
    /// of a killed process, since containers reuse process ids.
    Temporary(NamedTempFile),
}

impl CaFile {
    /// Writes the certificate to `given` or a temporary file. `None` without TLS.
    pub(super) fn write(
        emulator: &Emulator,
        given: Option<&Path>,
    ) -> Result<Option<Self>, Failure> {
        let Some(pem) = emulator.ca_pem() else {
            return Ok(None);
        };
        let failed = |path: &Path, error: &std::io::Error| {
            Failure::local(
                format!(
                    "cannot write the CA certificate to {}: {error}",
                    path.display()
                ),
                "give a writable path with --ca-out",
            )
        };
        if let Some(path) = given {
            // Absolute, since the user copies it to another terminal.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            std::fs::write(&path, pem).map_err(|error| failed(&path, &error))?;
            return Ok(Some(Self::Given(path)));
        }
        let mut file = tempfile::Builder::new()
            .prefix("layerfi-auth-emulator-")
            .suffix("-ca.pem")
            .tempfile()
            .map_err(|error| failed(&std::env::temp_dir(), &error))?;
        file.write_all(pem.as_bytes())
            .map_err(|error| failed(file.path(), &error))?;
        Ok(Some(Self::Temporary(file)))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }
}
