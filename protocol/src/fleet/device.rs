//! What a device is called.

use sha2::{Digest, Sha256};
use std::fmt::{self, Display};
use std::str::FromStr;
use thiserror::Error;

/// Longest id, in bytes.
pub const MAX_LEN: usize = 64;

/// Not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is no device id: 1 to {MAX_LEN} letters, digits, or any of . _ : -")]
pub struct DeviceIdError(String);

/// The name of a device, fit for file names, tables and logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this device is among those that report on the release with `digest`, when `permyriad` in ten thousand do. Both
    /// ends compute it, so that a sender knows whom not to expect; each release draws others.
    pub fn is_sampled(&self, digest: &[u8; 32], permyriad: u32) -> bool {
        let hash: [u8; 32] = Sha256::new().chain_update(digest).chain_update(&self.0).finalize().into();
        let [a, b, c, d, ..] = hash;
        u64::from(u32::from_be_bytes([a, b, c, d])) * 10_000 < u64::from(permyriad) << 32
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    fn from_str(text: &str) -> Result<Self, DeviceIdError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if text.is_empty() || text.len() > MAX_LEN || !text.bytes().all(fits) {
            return Err(DeviceIdError(text.chars().take(MAX_LEN).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain() {
        for good in ["a", "router-17", "00:11:22:33:44:55", "site.3_b", &"x".repeat(64)] {
            assert_eq!(good.parse::<DeviceId>().unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a,b", "=1+1", "a\n", "ä", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sample_has_its_size_and_differs_between_releases() {
        let ids: Vec<DeviceId> = (0..10_000).map(|n| format!("device-{n}").parse().unwrap()).collect();
        let count = |digest: u8, permyriad| ids.iter().filter(|id| id.is_sampled(&[digest; 32], permyriad)).count();
        assert_eq!((count(1, 10_000), count(1, 0)), (10_000, 0));
        assert!((900..1100).contains(&count(1, 1_000)));
        let both = |id: &&DeviceId| id.is_sampled(&[1; 32], 1_000) && id.is_sampled(&[2; 32], 1_000);
        assert!(ids.iter().filter(both).count() < 200);
    }
}
