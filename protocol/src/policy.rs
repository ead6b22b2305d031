//! What a device accepts: a trusted manifest for this product and hardware, not older than what it runs, and in time.
//!
//! The signature says who released an image; this says whether *this* device may install it.

use std::fmt;

use thiserror::Error;

use crate::hex;
use crate::manifest::SignedManifest;

/// What the device has committed: the lowest release it may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Sequence of the committed manifest.
    pub sequence: u64,
    /// Digest of the committed manifest.
    pub digest: [u8; 32],
}

/// What a device knows about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Product id, compared as it is, byte for byte.
    pub product: String,
    /// Hardware id, which must be in the manifest's list.
    pub hardware: String,
    /// The last committed release; `None` on a device that has none yet.
    pub floor: Option<Floor>,
    /// The time in seconds since 1970 (UTC), from a clock that no packet of a session can set; `None` when the device
    /// has no such clock.
    pub trusted_time_unix_s: Option<u64>,
}

/// Why a manifest is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// An image that the device does not have: receive it.
    New {
        /// The manifest is limited in time and the device has no trusted time to check that with: worth a warning.
        validity_unchecked: bool,
    },
    /// The very manifest that is committed already: resume, or say that nothing is to do.
    Resume {
        /// As for [`Acceptance::New`].
        validity_unchecked: bool,
    },
}

impl Acceptance {
    /// Whether not-before or expiry could not be checked for want of a trusted time.
    pub fn validity_unchecked(self) -> bool {
        match self {
            Self::New { validity_unchecked } | Self::Resume { validity_unchecked } => validity_unchecked,
        }
    }
}

/// Why a trusted manifest is not for this device, or not now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another product.
    #[error("the manifest is for product {found:?}, this device is {device:?}")]
    Product {
        /// Product of the device.
        device: String,
        /// Product of the manifest.
        found: String,
    },
    /// Hardware that is not listed.
    #[error("the manifest is for hardware {}, this device is {device:?}", Quoted(.found))]
    Hardware {
        /// Hardware id of the device.
        device: String,
        /// Hardware ids of the manifest.
        found: Vec<String>,
    },
    /// An older release than the committed one.
    #[error(
        "the manifest has sequence {found}, this device already runs sequence {floor}: rollback refused; \
         to go back, release the old image with a higher sequence"
    )]
    Rollback {
        /// Sequence that is committed.
        floor: u64,
        /// Sequence of the manifest.
        found: u64,
    },
    /// The committed sequence with another content.
    #[error(
        "the manifest has sequence {sequence} and digest {}, this device runs the same sequence with digest {}; \
         give every release its own sequence",
        hex::encode(.found),
        hex::encode(.floor)
    )]
    SequenceReused {
        /// Sequence of both.
        sequence: u64,
        /// Digest that is committed.
        floor: [u8; 32],
        /// Digest of the manifest.
        found: [u8; 32],
    },
    /// Before its time.
    #[error("the manifest is valid from {not_before_unix_s}, and it is {now_unix_s} (seconds since 1970)")]
    NotYetValid {
        /// First valid second.
        not_before_unix_s: u64,
        /// Trusted time.
        now_unix_s: u64,
    },
    /// After its time.
    #[error(
        "the manifest expired at {expires_unix_s}, and it is {now_unix_s} (seconds since 1970); seal the image again"
    )]
    Expired {
        /// First second no longer valid.
        expires_unix_s: u64,
        /// Trusted time.
        now_unix_s: u64,
    },
}

impl Device {
    /// Decides on a trusted manifest. Only a verified one can be asked about: its type says so.
    pub fn accept(&self, signed: &SignedManifest) -> Result<Acceptance, Refusal> {
        let manifest = signed.manifest();
        if manifest.product != self.product {
            return Err(Refusal::Product { device: self.product.clone(), found: manifest.product.clone() });
        }
        if !manifest.hardware.contains(&self.hardware) {
            return Err(Refusal::Hardware { device: self.hardware.clone(), found: manifest.hardware.clone() });
        }
        let resume = self.check_sequence(manifest.sequence, signed.digest())?;
        let validity_unchecked = self.check_validity(manifest.not_before_unix_s, manifest.expires_unix_s)?;
        Ok(match resume {
            true => Acceptance::Resume { validity_unchecked },
            false => Acceptance::New { validity_unchecked },
        })
    }

    /// Whether the manifest is the committed one; an error when it is an older or a rival one.
    fn check_sequence(&self, sequence: u64, digest: [u8; 32]) -> Result<bool, Refusal> {
        match self.floor {
            Some(floor) if sequence < floor.sequence => {
                Err(Refusal::Rollback { floor: floor.sequence, found: sequence })
            }
            Some(floor) if sequence == floor.sequence && digest != floor.digest => {
                Err(Refusal::SequenceReused { sequence, floor: floor.digest, found: digest })
            }
            Some(floor) => Ok(sequence == floor.sequence),
            None => Ok(false),
        }
    }

    /// Whether a limit in time exists that cannot be checked; an error when one is broken.
    fn check_validity(&self, not_before: Option<u64>, expires: Option<u64>) -> Result<bool, Refusal> {
        let Some(now_unix_s) = self.trusted_time_unix_s else {
            return Ok(not_before.is_some() || expires.is_some());
        };
        if let Some(not_before_unix_s) = not_before.filter(|&not_before| now_unix_s < not_before) {
            return Err(Refusal::NotYetValid { not_before_unix_s, now_unix_s });
        }
        match expires.filter(|&expires| now_unix_s >= expires) {
            Some(expires_unix_s) => Err(Refusal::Expired { expires_unix_s, now_unix_s }),
            None => Ok(false),
        }
    }
}

/// Ids in quotes, separated by commas.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, id) in self.0.iter().enumerate() {
            write!(f, "{}{id:?}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::signing_key_from_random;
    use crate::manifest::Manifest;
    use crate::partition::Partition;

    fn sealed(change: impl FnOnce(&mut Manifest)) -> SignedManifest {
        let mut manifest = Manifest {
            name: "firmware.bin".into(),
            product: "acme-r1".into(),
            hardware: vec!["rev-a".into(), "rev-b".into()],
            version: "2.4.1".into(),
            sequence: 17,
            image_sha256: [1; 32],
            partition: Partition::new(100, 8, 1).unwrap(),
            block_sha256: vec![[2; 32]],
            not_before_unix_s: None,
            expires_unix_s: None,
        };
        change(&mut manifest);
        SignedManifest::sign(&manifest, &signing_key_from_random(&[7; 32])).unwrap()
    }

    fn device() -> Device {
        Device {
            product: "acme-r1".into(),
            hardware: "rev-b".into(),
            floor: None,
            trusted_time_unix_s: Some(1_900_000_000),
        }
    }

    fn with_floor(sequence: u64, digest: [u8; 32]) -> Device {
        Device { floor: Some(Floor { sequence, digest }), ..device() }
    }

    #[test]
    fn product_and_hardware_must_be_the_device_s() {
        let signed = sealed(|_| ());
        assert_eq!(device().accept(&signed), Ok(Acceptance::New { validity_unchecked: false }));
        let other = Device { product: "acme-r2".into(), ..device() };
        let message = other.accept(&signed).unwrap_err().to_string();
        assert_eq!(message, r#"the manifest is for product "acme-r1", this device is "acme-r2""#);
        let other = Device { hardware: "rev-".into(), ..device() };
        let message = other.accept(&signed).unwrap_err().to_string();
        assert_eq!(message, r#"the manifest is for hardware "rev-a", "rev-b", this device is "rev-""#);
    }

    #[test]
    fn the_sequence_never_falls() {
        let signed = sealed(|_| ());
        let new = Ok(Acceptance::New { validity_unchecked: false });
        assert_eq!(with_floor(16, [0; 32]).accept(&signed), new);
        assert_eq!(with_floor(16, signed.digest()).accept(&signed), new);
        let resume = Ok(Acceptance::Resume { validity_unchecked: false });
        assert_eq!(with_floor(17, signed.digest()).accept(&signed), resume);
        let reused = with_floor(17, [0xab; 32]).accept(&signed);
        assert_eq!(reused, Err(Refusal::SequenceReused { sequence: 17, floor: [0xab; 32], found: signed.digest() }));
        assert!(reused.unwrap_err().to_string().contains("abababab"));
        let rollback = with_floor(18, signed.digest()).accept(&signed);
        assert_eq!(rollback, Err(Refusal::Rollback { floor: 18, found: 17 }));
        assert!(with_floor(u64::MAX, [0; 32]).accept(&sealed(|m| m.sequence = u64::MAX - 1)).is_err());
    }

    #[test]
    fn time_limits_hold_to_the_second() {
        let signed = sealed(|m| (m.not_before_unix_s, m.expires_unix_s) = (Some(100), Some(200)));
        let at = |now| Device { trusted_time_unix_s: Some(now), ..device() }.accept(&signed);
        assert_eq!(at(99), Err(Refusal::NotYetValid { not_before_unix_s: 100, now_unix_s: 99 }));
        assert_eq!(at(100), Ok(Acceptance::New { validity_unchecked: false }));
        assert_eq!(at(199), Ok(Acceptance::New { validity_unchecked: false }));
        assert_eq!(at(200), Err(Refusal::Expired { expires_unix_s: 200, now_unix_s: 200 }));
    }

    #[test]
    fn without_trusted_time_the_acceptance_says_so() {
        let blind = Device { trusted_time_unix_s: None, ..device() };
        assert!(!blind.accept(&sealed(|_| ())).unwrap().validity_unchecked());
        assert!(blind.accept(&sealed(|m| m.expires_unix_s = Some(1))).unwrap().validity_unchecked());
        assert!(blind.accept(&sealed(|m| m.not_before_unix_s = Some(1))).unwrap().validity_unchecked());
        let signed = sealed(|m| m.expires_unix_s = Some(1));
        let blind = Device { floor: Some(Floor { sequence: 17, digest: signed.digest() }), ..blind };
        assert_eq!(blind.accept(&signed), Ok(Acceptance::Resume { validity_unchecked: true }));
    }
}
