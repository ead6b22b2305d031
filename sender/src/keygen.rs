//! `keygen`: an Ed25519 key pair in ordinary PEM files.

use anyhow::{Context, Result};
use fleetcast_protocol::keys::{KeyId, signing_key_from_random, signing_key_to_pem, verifying_key_to_pem};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes `OUT.key` (PKCS#8, readable by its owner only) and `OUT.pub` (SPKI). Never overwrites a key.
pub fn keygen(out: &Path) -> Result<()> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("cannot get randomness: {error}"))?;
    let key = signing_key_from_random(&random);
    let (private, public) = (with_extension(out, "key"), with_extension(out, "pub"));
    create(&private, 0o600, signing_key_to_pem(&key).as_bytes())?;
    create(&public, 0o644, verifying_key_to_pem(&key.verifying_key()).as_bytes())?;
    eprintln!(
        "wrote {} (keep it offline, where releases are made) and {} (give it to every receiver); key id {}",
        private.display(),
        public.display(),
        KeyId::of(&key.verifying_key())
    );
    Ok(())
}

fn with_extension(out: &Path, extension: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn create(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot make {} (an existing key is never overwritten)", path.display()))?;
    file.write_all(content).and_then(|()| file.sync_all()).with_context(|| format!("cannot write {}", path.display()))
}
