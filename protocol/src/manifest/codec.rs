//! The manifest as deterministic CBOR (RFC 8949 §4.2.1), schema in `docs/manifest.cddl`.
//!
//! Non-negative keys are essential: a reader that does not know one refuses the manifest, because ignoring it could
//! mean to write ciphertext as firmware or to ignore a policy. Negative keys are hints that a reader may skip.

use ciborium::Value;

use super::{MAX_HARDWARE_IDS, Manifest, ManifestError, check_len};
use crate::cbor::{self, FieldProblem, Fields};
use crate::partition::{MAX_BLOCKS, Partition};

/// Longest manifest read, in bytes, envelope and signature included; the largest that we write has about 17,700.
pub const MAX_MANIFEST_LEN: usize = 64 * 1024;
/// The format written and read.
pub const FORMAT_VERSION: u64 = 1;

mod key {
    pub(super) const FORMAT: u64 = 0;
    pub(super) const NAME: u64 = 1;
    pub(super) const PRODUCT: u64 = 2;
    pub(super) const HARDWARE: u64 = 3;
    pub(super) const VERSION: u64 = 4;
    pub(super) const SEQUENCE: u64 = 5;
    pub(super) const IMAGE_LENGTH: u64 = 6;
    pub(super) const IMAGE_SHA256: u64 = 7;
    pub(super) const SYMBOL_SIZE: u64 = 8;
    pub(super) const BLOCKS: u64 = 9;
    pub(super) const BLOCK_SHA256: u64 = 10;
    pub(super) const NOT_BEFORE: u64 = 11;
    pub(super) const EXPIRES: u64 = 12;
}

impl Manifest {
    /// The payload that is signed; equal manifests give equal bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let text = |text: &String| Value::Text(text.clone());
        let hash = |hash: &[u8; 32]| Value::Bytes(hash.to_vec());
        let mut entries = vec![
            (key::FORMAT, Value::from(FORMAT_VERSION)),
            (key::NAME, text(&self.name)),
            (key::PRODUCT, text(&self.product)),
            (key::HARDWARE, Value::Array(self.hardware.iter().map(text).collect())),
            (key::VERSION, text(&self.version)),
            (key::SEQUENCE, Value::from(self.sequence)),
            (key::IMAGE_LENGTH, Value::from(self.partition.image_len())),
            (key::IMAGE_SHA256, hash(&self.image_sha256)),
            (key::SYMBOL_SIZE, Value::from(self.partition.symbol_size())),
            (key::BLOCKS, Value::from(self.partition.blocks())),
            (key::BLOCK_SHA256, Value::Array(self.block_sha256.iter().map(hash).collect())),
        ];
        entries.extend(self.not_before_unix_s.map(|time| (key::NOT_BEFORE, Value::from(time))));
        entries.extend(self.expires_unix_s.map(|time| (key::EXPIRES, Value::from(time))));
        cbor::encode_map(entries)
    }

    /// Reads a payload; every rule of [`Manifest::check`] holds for what comes out.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut fields = Fields::decode(bytes, MAX_MANIFEST_LEN)?;
        // First of all: nothing else is known about the fields of another format.
        match fields.required_uint(key::FORMAT, "format")? {
            FORMAT_VERSION => {}
            0 => {
                return Err(FieldProblem::Range { value: 0, min: FORMAT_VERSION, max: FORMAT_VERSION }
                    .of("format")
                    .into());
            }
            found => return Err(ManifestError::FormatVersion { found }),
        }
        let manifest = Self {
            name: fields.required_text(key::NAME, "name")?,
            product: fields.required_text(key::PRODUCT, "product")?,
            hardware: read_hardware(&mut fields)?,
            version: fields.required_text(key::VERSION, "version")?,
            sequence: fields.required_uint(key::SEQUENCE, "sequence")?,
            image_sha256: fields.required_sha256(key::IMAGE_SHA256, "image_sha256")?,
            partition: read_partition(&mut fields)?,
            block_sha256: read_block_hashes(&mut fields)?,
            not_before_unix_s: fields.optional_uint(key::NOT_BEFORE, "not_before")?,
            expires_unix_s: fields.optional_uint(key::EXPIRES, "expires")?,
        };
        if let Some(key) = fields.unknown_critical() {
            return Err(ManifestError::UnknownField(key));
        }
        manifest.check()?;
        Ok(manifest)
    }
}

fn read_hardware(fields: &mut Fields) -> Result<Vec<String>, ManifestError> {
    let ids = fields.required_array(key::HARDWARE, "hardware")?;
    check_len(ids.len(), MAX_HARDWARE_IDS, "hardware")?;
    Ok(ids.into_iter().map(|id| cbor::text(id, "hardware")).collect::<Result<_, _>>()?)
}

fn read_partition(fields: &mut Fields) -> Result<Partition, ManifestError> {
    let image_len = fields.required_uint(key::IMAGE_LENGTH, "image_length")?;
    Ok(Partition::new(
        image_len,
        required_u16(fields, key::SYMBOL_SIZE, "symbol_size")?,
        required_u16(fields, key::BLOCKS, "blocks")?,
    )?)
}

fn read_block_hashes(fields: &mut Fields) -> Result<Vec<[u8; 32]>, ManifestError> {
    let hashes = fields.required_array(key::BLOCK_SHA256, "block_sha256")?;
    check_len(hashes.len(), usize::from(MAX_BLOCKS), "block_sha256")?;
    Ok(hashes.iter().map(|hash| cbor::sha256(hash, "block_sha256")).collect::<Result<_, _>>()?)
}

fn required_u16(fields: &mut Fields, key: u64, field: &'static str) -> Result<u16, ManifestError> {
    let value = fields.required_uint(key, field)?;
    let problem = FieldProblem::Range { value, min: 1, max: u64::from(u16::MAX) };
    u16::try_from(value).map_err(|_| problem.of(field).into())
}
