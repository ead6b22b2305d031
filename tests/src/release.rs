//! A firmware release as an operator makes it: a key pair, an image, and its signed manifest.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::binaries::Binaries;
use crate::command::run;
use crate::image;

/// The product of every release of the lab.
pub const PRODUCT: &str = "lab-router";
/// The hardware id of every release of the lab.
pub const HARDWARE: &str = "rev-a";

/// A release key in two PEM files.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// PKCS#8.
    pub secret: PathBuf,
    /// SubjectPublicKeyInfo.
    pub public: PathBuf,
}

impl KeyPair {
    /// Has `fleetcast-send keygen` make `<name>.key` and `<name>.pub` in a folder.
    ///
    /// # Errors
    /// When the command fails.
    pub fn generate(binaries: &Binaries, folder: &Path, name: &str) -> Result<Self, LabError> {
        let out = folder.join(name);
        run(Command::new(&binaries.send).arg("keygen").arg("--out").arg(&out))?;
        Ok(Self { secret: out.with_extension("key"), public: out.with_extension("pub") })
    }
}

/// An image with its signed manifest.
#[derive(Debug, Clone)]
pub struct Release {
    /// The image.
    pub image: PathBuf,
    /// The manifest, beside the image.
    pub manifest: PathBuf,
    /// The key that verifies it.
    pub public_key: PathBuf,
    /// SHA-256 of the image in hex, computed by the lab itself.
    pub sha256: String,
    /// Length of the image in bytes.
    pub file_bytes: u64,
    /// The version text.
    pub version: String,
    /// The rollback counter.
    pub sequence: u64,
}

impl Release {
    /// Has `fleetcast-send seal` sign an image.
    ///
    /// # Errors
    /// When the command fails or the image cannot be read.
    pub fn seal(binaries: &Binaries, image: PathBuf, key: &KeyPair, sequence: u64) -> Result<Self, LabError> {
        let version = format!("1.0.{sequence}");
        let mut command = Command::new(&binaries.send);
        command.arg("seal").arg(&image).arg("--key").arg(&key.secret);
        command.args(["--product", PRODUCT, "--hardware", HARDWARE, "--version", &version]);
        run(command.args(["--sequence", &sequence.to_string()]))?;
        let metadata = image.metadata().map_err(LabError::io(format!("read {}", image.display())))?;
        let mut manifest = image.clone().into_os_string();
        manifest.push(".fcm");
        Ok(Self {
            sha256: image::sha256(&image)?,
            manifest: manifest.into(),
            public_key: key.public.clone(),
            file_bytes: metadata.len(),
            version,
            sequence,
            image,
        })
    }
}
