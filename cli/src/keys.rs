//! Public keys named on a command line.

use fleetcast_protocol::keys::{KeyError, verifying_key_from_pem};
use fleetcast_protocol::manifest::TrustStore;
use std::fs;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a file gives no public key.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error(
        "cannot read the public key {path}: {source}; name the .pub file that `fleetcast-send keygen` made beside the release key"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
}

/// Reads public keys (SPKI PEM).
pub fn read_trust(paths: &[PathBuf]) -> Result<TrustStore, KeyFileError> {
    let mut trust = TrustStore::default();
    for path in paths {
        let pem = fs::read_to_string(path).map_err(|source| KeyFileError::Read { path: path.clone(), source })?;
        trust.add(verifying_key_from_pem(&pem).map_err(|source| KeyFileError::Key { path: path.clone(), source })?);
    }
    Ok(trust)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::keys::{signing_key_from_random, signing_key_to_pem, verifying_key_to_pem};

    #[test]
    fn reads_public_keys_and_says_what_else_it_found() {
        let folder = tempfile::tempdir().unwrap();
        let key = signing_key_from_random(&[3; 32]);
        let (public, private) = (folder.path().join("k.pub"), folder.path().join("k.key"));
        fs::write(&public, verifying_key_to_pem(&key.verifying_key())).unwrap();
        fs::write(&private, signing_key_to_pem(&key).as_bytes()).unwrap();
        assert_eq!(read_trust(&[public]).unwrap().key_ids().count(), 1);
        let error = read_trust(&[private]).unwrap_err().to_string();
        assert!(error.contains("k.key") && error.contains("PRIVATE"), "{error}");
        let error = read_trust(&[folder.path().join("none")]).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
