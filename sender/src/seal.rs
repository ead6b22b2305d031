//! `seal`: hashes an image, cuts it into blocks, and signs the manifest, where the release key is.

use crate::image::{Image, ImageError};
use fleetcast_cli::exit;
use fleetcast_protocol::keys::{KeyError, SigningKey, signing_key_from_pem};
use fleetcast_protocol::manifest::{ImageHashes, Manifest, ManifestError, SignedManifest};
use fleetcast_protocol::partition::{Partition, PartitionError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

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

/// Why an image was not sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The release key cannot be read.
    #[error("cannot read the release key {path}: {source}; `fleetcast-send keygen` makes one")]
    ReadKey {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no release key.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It cannot be cut into blocks.
    #[error("cannot seal {image}: {source}")]
    Partition {
        /// The image.
        image: PathBuf,
        /// Why.
        source: PartitionError,
    },
    /// A field of the manifest cannot be as asked.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The file's name cannot be the image's.
    #[error("{0} has no name in UTF-8; give one with --name")]
    Name(PathBuf),
    /// The manifest cannot be written.
    #[error("cannot write the manifest {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SealError {
    /// The exit code for this kind of failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Key { .. } | Self::Partition { .. } | Self::Manifest(_) | Self::Name(_) => exit::USAGE,
            Self::Image(ImageError::Mismatch(_) | ImageError::Changed(_)) => exit::VERIFICATION,
            Self::ReadKey { .. } | Self::Image(_) | Self::Write { .. } => exit::ENVIRONMENT,
        }
    }
}

/// Seals an image and returns where the manifest is.
pub fn seal(options: &Options) -> Result<PathBuf, SealError> {
    let key = read_key(&options.key)?;
    let image = Image::open(&options.image)?;
    let partition = Partition::plan(image.bytes().len() as u64, options.symbol_size, options.block_symbols)
        .map_err(|source| SealError::Partition { image: options.image.clone(), source })?;
    let hashes = ImageHashes::compute(&partition, image.bytes()).map_err(ImageError::from)?;
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
    fs::write(&out, signed.bytes()).map_err(|source| SealError::Write { path: out.clone(), source })?;
    Ok(out)
}

fn read_key(path: &Path) -> Result<SigningKey, SealError> {
    let pem = fs::read_to_string(path).map_err(|source| SealError::ReadKey { path: path.to_owned(), source })?;
    signing_key_from_pem(&pem).map_err(|source| SealError::Key { path: path.to_owned(), source })
}

fn file_name(image: &Path) -> Result<String, SealError> {
    let name = image.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| SealError::Name(image.to_owned()))
}

/// `IMAGE.fcm`: where the manifest of an image is unless something else is said.
pub fn manifest_path(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".fcm");
    name.into()
}
