//! One device's word on where it stands, as CBOR (RFC 8949); schema in `docs/report.cddl`.

use super::{DeviceId, DeviceIdError};
use crate::cbor::{self, CborError, FieldError, FieldProblem, Fields};
use ciborium::Value;
use thiserror::Error;

/// Longest report, in bytes.
pub const MAX_REPORT_LEN: usize = 512;
/// Longest reason of a failure, in bytes; what is longer is cut.
const MAX_REASON_LEN: usize = 200;
/// Everything is lost.
const ALL_PPM: u32 = 1_000_000;

mod key {
    pub(super) const DEVICE: u64 = 0;
    pub(super) const MANIFEST_DIGEST: u64 = 1;
    pub(super) const COUNTER: u64 = 2;
    pub(super) const STATE: u64 = 3;
    pub(super) const REASON: u64 = 4;
    pub(super) const LOSS_PPM: u64 = 5;
    pub(super) const FETCHED_BYTES: u64 = 6;
}

/// Where a device stands with a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// It accepted the manifest.
    Receiving,
    /// It holds the whole image, verified and durable.
    Verified,
    /// It runs the image on trial.
    Activated,
    /// The image is the installed one.
    Committed,
    /// It gave up.
    Failed {
        /// Why, printable ASCII.
        reason: String,
    },
}

impl DeviceState {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Verified => "verified",
            Self::Activated => "activated",
            Self::Committed => "committed",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why it failed, if it did.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            _ => None,
        }
    }

    /// Whether the device holds the image, verified.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Verified | Self::Activated | Self::Committed)
    }

    fn number(&self) -> u64 {
        match self {
            Self::Receiving => 0,
            Self::Verified => 1,
            Self::Activated => 2,
            Self::Committed => 3,
            Self::Failed { .. } => 4,
        }
    }
}

/// What a device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// Who says it.
    pub device: DeviceId,
    /// Digest of the manifest that it is about.
    pub manifest_digest: [u8; 32],
    /// Rises with every report of a device, also across restarts: an older one that arrives late counts for nothing.
    pub counter: u64,
    /// Where it stands.
    pub state: DeviceState,
    /// Loss before repair in parts per million, when it is known.
    pub loss_ppm: Option<u32>,
    /// Bytes that it fetched by HTTP.
    pub fetched_bytes: u64,
}

/// Not a report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportError {
    /// It is no map of CBOR within its bounds.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// A field is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The device id is none.
    #[error(transparent)]
    Device(#[from] DeviceIdError),
    /// There is no such state.
    #[error("{0} is no state")]
    State(u64),
}

impl DeviceReport {
    /// Its bytes, deterministic and at most [`MAX_REPORT_LEN`].
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut entries = vec![
            (key::DEVICE, Value::from(self.device.as_str())),
            (key::MANIFEST_DIGEST, Value::from(self.manifest_digest.to_vec())),
            (key::COUNTER, Value::from(self.counter)),
            (key::STATE, Value::from(self.state.number())),
        ];
        entries.extend(self.state.reason().map(|reason| (key::REASON, Value::from(printable(reason)))));
        entries.extend(self.loss_ppm.map(|ppm| (key::LOSS_PPM, Value::from(ppm.min(ALL_PPM)))));
        entries.push((key::FETCHED_BYTES, Value::from(self.fetched_bytes)));
        cbor::encode_map(entries)
    }

    /// Reads a report; keys that are not known are ignored.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, ReportError> {
        let mut fields = Fields::decode(bytes, MAX_REPORT_LEN)?;
        let reason = fields.take(key::REASON).map(|reason| cbor::text(reason, "reason")).transpose()?;
        let state = match fields.required_uint(key::STATE, "state")? {
            0 => DeviceState::Receiving,
            1 => DeviceState::Verified,
            2 => DeviceState::Activated,
            3 => DeviceState::Committed,
            4 => {
                let reason = reason.ok_or_else(|| FieldProblem::Missing.of("reason"))?;
                DeviceState::Failed { reason: printable(&reason) }
            }
            other => return Err(ReportError::State(other)),
        };
        let loss_ppm = fields.optional_uint(key::LOSS_PPM, "loss_ppm")?;
        Ok(Self {
            device: fields.required_text(key::DEVICE, "device")?.parse()?,
            manifest_digest: fields.required_sha256(key::MANIFEST_DIGEST, "manifest_digest")?,
            counter: fields.required_uint(key::COUNTER, "counter")?,
            state,
            loss_ppm: loss_ppm.map(|ppm| u32::try_from(ppm).unwrap_or(ALL_PPM).min(ALL_PPM)),
            fetched_bytes: fields.optional_uint(key::FETCHED_BYTES, "fetched_bytes")?.unwrap_or(0),
        })
    }
}

/// Text that goes into files and onto terminals: no control characters, and not pages of it.
fn printable(text: &str) -> String {
    let ascii = text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' });
    ascii.take(MAX_REASON_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> DeviceReport {
        DeviceReport {
            device: "r1".parse().unwrap(),
            manifest_digest: [9; 32],
            counter: 5,
            state: DeviceState::Committed,
            loss_ppm: Some(20_000),
            fetched_bytes: 0,
        }
    }

    #[test]
    fn encoding_is_the_documented_one() {
        let hex = crate::hex::encode(&sample().to_cbor());
        assert_eq!(hex, format!("a6006272310158 20{}0205030305194e200600", "09".repeat(32)).replace(' ', ""));
    }

    #[test]
    fn the_largest_is_within_its_bound() {
        let largest = DeviceReport {
            device: "x".repeat(64).parse().unwrap(),
            counter: u64::MAX,
            state: DeviceState::Failed { reason: "y".repeat(1_000) },
            loss_ppm: Some(u32::MAX),
            fetched_bytes: u64::MAX,
            ..sample()
        };
        let bytes = largest.to_cbor();
        assert!(bytes.len() <= MAX_REPORT_LEN, "{}", bytes.len());
        let read = DeviceReport::from_cbor(&bytes).unwrap();
        assert_eq!((read.loss_ppm, read.state.reason().unwrap().len()), (Some(1_000_000), 200));
    }

    #[test]
    fn what_a_device_says_is_fit_for_a_terminal() {
        let state = DeviceState::Failed { reason: "\u{1b}[2J\nroot\r,ü".into() };
        let read = DeviceReport::from_cbor(&DeviceReport { state, ..sample() }.to_cbor()).unwrap();
        assert_eq!(read.state.reason(), Some("?[2J?root?,?"));
    }

    proptest! {
        #[test]
        fn roundtrip(
            device in "[A-Za-z0-9._:-]{1,64}", manifest_digest: [u8; 32], counter: u64, state in 0usize..5,
            reason in "[ -~]{0,200}", loss_ppm in prop::option::of(0u32..=1_000_000), fetched_bytes: u64,
        ) {
            let state = [DeviceState::Receiving, DeviceState::Verified, DeviceState::Activated, DeviceState::Committed,
                DeviceState::Failed { reason }][state].clone();
            let device = device.parse().unwrap();
            let report = DeviceReport { device, manifest_digest, counter, state, loss_ppm, fetched_bytes };
            prop_assert_eq!(DeviceReport::from_cbor(&report.to_cbor()).unwrap(), report);
        }

        #[test]
        fn arbitrary_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let _ = DeviceReport::from_cbor(&bytes);
            let mut bytes = sample().to_cbor();
            for (at, byte) in edits {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Ok(read) = DeviceReport::from_cbor(&bytes) {
                prop_assert_eq!(DeviceReport::from_cbor(&read.to_cbor()).unwrap(), read);
            }
        }
    }
}
