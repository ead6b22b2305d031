//! `seal`: hashes an image, cuts it into blocks, and signs the manifest, where the release key is.

use crate::image::Image;
use anyhow::{Context, Result};
use fleetcast_protocol::keys::signing_key_from_pem;
use fleetcast_protocol::manifest::{ImageHashes, Manifest, SignedManifest};
use fleetcast_protocol::partition::Partition;
use std::fs;
use std::path::{Path, PathBuf};

/// What goes into the manifest.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image.
    pub image: PathBuf,
    /// The release key, PEM.
    pub key: PathBuf,
    /// Where the manifest goes; `IMAGE.fcm` when not given.
    pub out: Option<PathBuf>,
    /// Image name; the file's when not given.
    pub name: Option<String>,
    /// Product id.
    pub product: String,
    /// Hardware ids.
    pub hardware: Vec<String>,
    /// Version text.
    pub version: String,
    /// Release counter.
    pub sequence: u64,
    /// T.
    pub symbol_size: u16,
    /// K aimed at.
    pub block_symbols: u32,
    /// First valid second.
    pub not_before_unix_s: Option<u64>,
    /// First second no longer valid.
    pub expires_unix_s: Option<u64>,
}

/// Seals an image and returns where the manifest is.
pub fn seal(options: &Options) -> Result<PathBuf> {
    let pem = fs::read_to_string(&options.key)
        .with_context(|| format!("cannot read the release key {}", options.key.display()))?;
    let key = signing_key_from_pem(&pem).with_context(|| format!("{}", options.key.display()))?;
    let image = Image::open(&options.image)?;
    let partition = Partition::plan(image.bytes().len() as u64, options.symbol_size, options.block_symbols)?;
    let hashes = ImageHashes::compute(&partition, image.bytes())?;
    image.check_unchanged()?;
    let manifest = Manifest {
        name: options.name.clone().map_or_else(|| file_name(&options.image), Ok)?,
        product: options.product.clone(),
        hardware: options.hardware.clone(),
        version: options.version.clone(),
        sequence: options.sequence,
        image_sha256: hashes.image_sha256,
        partition,
        block_sha256: hashes.block_sha256,
        not_before_unix_s: options.not_before_unix_s,
        expires_unix_s: options.expires_unix_s,
    };
    let signed = SignedManifest::sign(&manifest, &key)?;
    let out = options.out.clone().unwrap_or_else(|| manifest_path(&options.image));
    fs::write(&out, signed.bytes()).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(out)
}

fn file_name(image: &Path) -> Result<String> {
    let name = image.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("{} has no name in UTF-8; give one with --name", image.display()))
}

fn manifest_path(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".fcm");
    name.into()
}
