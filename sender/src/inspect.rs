//! `inspect`: what a manifest says, and whether a key has signed it.

use crate::send::{SendError, read_manifest};
use fleetcast_cli::exit;
use fleetcast_protocol::hex;
use fleetcast_protocol::manifest::{TrustError, TrustStore, UnverifiedManifest};
use serde_json::json;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Files with what another tool needs to check the signature.
#[derive(Debug, Clone, Default)]
pub struct Extracts {
    /// Where the signed bytes go: the Sig_structure of RFC 9052 §4.4.
    pub tbs: Option<PathBuf>,
    /// Where the signature goes: 64 bytes, as RFC 8032 has them.
    pub signature: Option<PathBuf>,
}

/// Why a manifest could not be shown, or not as trusted.
#[derive(Debug, Error)]
pub enum InspectError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] SendError),
    /// No trusted key has signed it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file for another tool cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl InspectError {
    /// The exit code for this kind of failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read(error) => error.exit_code(),
            Self::Trust(_) => exit::REFUSED,
            Self::Write { .. } => exit::ENVIRONMENT,
        }
    }
}

/// Prints the manifest at `path`, and writes the extracts asked for. With keys in `trust` its signature must be one of
/// theirs; the extracts are written either way, so that another tool can have its own opinion.
pub fn inspect(
    path: &Path,
    trust: Option<&TrustStore>,
    extracts: &Extracts,
    as_json: bool,
) -> Result<(), InspectError> {
    let manifest = read_manifest(path)?;
    if let Some(path) = &extracts.tbs {
        write(path, &manifest.tbs())?;
    }
    if let Some(path) = &extracts.signature {
        write(path, manifest.signature())?;
    }
    let verified = match trust {
        Some(trust) => {
            manifest.clone().verify(trust)?;
            true
        }
        None => false,
    };
    if as_json {
        print_json(&manifest, verified);
    } else {
        print_text(&manifest, verified);
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), InspectError> {
    fs::write(path, bytes).map_err(|source| InspectError::Write { path: path.to_owned(), source })
}

fn print_json(manifest: &UnverifiedManifest, verified: bool) {
    let content = manifest.manifest();
    let partition = &content.partition;
    let blocks: Vec<String> = content.block_sha256.iter().map(|hash| hex::encode(hash)).collect();
    let object = json!({
        "verified": verified, "key_id": manifest.key_id().to_string(), "manifest": hex::encode(&manifest.digest()),
        "name": content.name, "product": content.product, "hardware": content.hardware, "version": content.version,
        "sequence": content.sequence, "image_bytes": partition.image_len(), "sha256": hex::encode(&content.image_sha256),
        "symbol_bytes": partition.symbol_size(), "blocks": partition.blocks(), "symbols": partition.total_symbols(),
        "not_before_unix_s": content.not_before_unix_s, "expires_unix_s": content.expires_unix_s,
        "block_sha256": blocks,
    });
    println!("{object}");
}

fn print_text(manifest: &UnverifiedManifest, verified: bool) {
    let content = manifest.manifest();
    let partition = &content.partition;
    let state = if verified { "valid" } else { "NOT CHECKED (give --trust KEY.pub)" };
    let limit =
        |unix_s: Option<u64>| unix_s.map_or("none".to_owned(), |unix_s| format!("{unix_s} (seconds since 1970)"));
    println!("image       {} {}", content.name, content.version);
    println!("product     {}", content.product);
    println!("hardware    {}", content.hardware.join(", "));
    println!("sequence    {}", content.sequence);
    println!("length      {} bytes", partition.image_len());
    println!("SHA-256     {}", hex::encode(&content.image_sha256));
    println!(
        "blocks      {} of up to {} symbols of {} bytes",
        partition.blocks(),
        partition.largest_k(),
        partition.symbol_size()
    );
    println!("not before  {}", limit(content.not_before_unix_s));
    println!("expires     {}", limit(content.expires_unix_s));
    println!("manifest    {}", hex::encode(&manifest.digest()));
    println!("signature   {state}, key id {}", manifest.key_id());
}
