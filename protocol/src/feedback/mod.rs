//! What receivers ask the sender for by UDP: how many symbols each block lacks. A fountain code does not care which.
//!
//! One datagram of CBOR to the feedback port of the session's source; schema in `docs/feedback.cddl`. It is not
//! authenticated: what it makes the sender do is bounded by the sender.

mod backoff;
mod deficits;

pub use backoff::truncated_exponential;
pub use deficits::{Deficits, MAX_DEFICIT};

use crate::cbor::{CborError, FieldError, FieldProblem, Fields, encode_map};
use ciborium::Value;
use thiserror::Error;

/// Longest feedback, in bytes: 255 blocks that each lack many symbols fit.
pub const MAX_FEEDBACK_LEN: usize = 1024;
/// Bytes of the manifest's digest that name a session's upgrade.
pub const DIGEST_PREFIX_LEN: usize = 8;
/// Everything is lost.
const ALL_PPM: u32 = 1_000_000;

mod key {
    pub(super) const DIGEST_PREFIX: u64 = 0;
    pub(super) const TSI: u64 = 1;
    pub(super) const ROUND: u64 = 2;
    pub(super) const DEFICITS: u64 = 3;
    pub(super) const LOSS_PPM: u64 = 4;
}

/// The part of a manifest's digest that names its upgrade in feedback.
pub fn digest_prefix(digest: &[u8; 32]) -> [u8; DIGEST_PREFIX_LEN] {
    std::array::from_fn(|index| digest[index])
}

/// A receiver's word in a feedback round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The first bytes of the manifest's digest.
    pub digest_prefix: [u8; DIGEST_PREFIX_LEN],
    /// Transport session id.
    pub tsi: u32,
    /// The round, as announced.
    pub round: u32,
    /// What is lacking beyond what was announced to be repaired.
    pub deficits: Deficits,
    /// Share of the packets that did not come, before repair, in millionths; `None` when it is not known.
    pub loss_ppm: Option<u32>,
}

/// Why bytes are no feedback.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FeedbackError {
    /// The bytes are no map of ours.
    #[error("this is no feedback: {0}")]
    Cbor(#[from] CborError),
    /// A field is missing or breaks a rule.
    #[error("feedback {0}")]
    Field(#[from] FieldError),
}

impl Feedback {
    /// The encoding, at most [`MAX_FEEDBACK_LEN`] bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut entries = vec![
            (key::DIGEST_PREFIX, Value::Bytes(self.digest_prefix.to_vec())),
            (key::TSI, Value::from(self.tsi)),
            (key::ROUND, Value::from(self.round)),
            (key::DEFICITS, self.deficits.to_value()),
        ];
        entries.extend(self.loss_ppm.map(|ppm| (key::LOSS_PPM, Value::from(ppm.min(ALL_PPM)))));
        encode_map(entries)
    }

    /// Reads feedback. Numbers out of range come out as the nearest allowed one, unknown keys are ignored.
    ///
    /// # Errors
    /// When it is no deterministic CBOR map of at most [`MAX_FEEDBACK_LEN`] bytes with the fields of the schema.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, FeedbackError> {
        const PREFIX: &str = "digest_prefix";
        let mut fields = Fields::decode(bytes, MAX_FEEDBACK_LEN)?;
        let prefix = fields.required(key::DIGEST_PREFIX, PREFIX)?;
        let prefix = prefix.as_bytes().ok_or_else(|| FieldProblem::Type("a byte string").of(PREFIX))?;
        let len = prefix.len();
        let clamp = |value: u64, max: u32| u32::try_from(value).unwrap_or(u32::MAX).min(max);
        Ok(Self {
            digest_prefix: <[u8; DIGEST_PREFIX_LEN]>::try_from(prefix.as_slice())
                .map_err(|_| FieldProblem::Length { len, min: DIGEST_PREFIX_LEN, max: DIGEST_PREFIX_LEN }.of(PREFIX))?,
            tsi: clamp(fields.required_uint(key::TSI, "tsi")?, u32::MAX),
            round: clamp(fields.required_uint(key::ROUND, "round")?, u32::MAX),
            deficits: Deficits::from_value(fields.required(key::DEFICITS, "deficits")?, "deficits")?,
            loss_ppm: fields.optional_uint(key::LOSS_PPM, "loss_ppm")?.map(|ppm| clamp(ppm, ALL_PPM)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Feedback {
        Feedback {
            digest_prefix: [9; 8],
            tsi: 7,
            round: 2,
            deficits: Deficits::from_counts([0, 31, 0, 300]),
            loss_ppm: Some(10_000),
        }
    }

    #[test]
    fn encoding_is_the_documented_one() {
        let hex: String = sample().to_cbor().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a50048090909090909090901070202038400181f0019012c04192710");
    }

    #[test]
    fn the_largest_fits() {
        let counts = [u32::MAX; 300];
        let feedback = Feedback { tsi: u32::MAX, round: u32::MAX, deficits: Deficits::from_counts(counts), ..sample() };
        let bytes = feedback.to_cbor();
        assert!(bytes.len() <= MAX_FEEDBACK_LEN, "{}", bytes.len());
        assert_eq!(Feedback::from_cbor(&bytes).unwrap(), feedback);
        assert_eq!(feedback.deficits.of(254), MAX_DEFICIT);
    }

    fn with(key: u64, value: impl Into<Value>) -> Result<Feedback, FeedbackError> {
        let Value::Map(mut entries) = crate::cbor::decode(&sample().to_cbor()).unwrap() else { panic!("no map") };
        entries.retain(|(k, _)| *k != Value::from(key));
        entries.push((Value::from(key), value.into()));
        entries.sort_by_key(|(k, _)| crate::cbor::encode(k));
        Feedback::from_cbor(&crate::cbor::encode(&Value::Map(entries)))
    }

    #[test]
    fn numbers_are_clamped_and_wrong_types_named() {
        assert_eq!(with(1, u64::MAX).unwrap().tsi, u32::MAX);
        assert_eq!(with(4, u64::MAX).unwrap().loss_ppm, Some(1_000_000));
        let many = vec![Value::from(1); 256];
        let field = |key, value: Value| match with(key, value) {
            Err(FeedbackError::Field(error)) => error.field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(0, Value::Bytes(vec![0; 7])), "digest_prefix");
        assert_eq!(field(0, Value::from("x")), "digest_prefix");
        assert_eq!(field(2, Value::from(-1)), "round");
        assert_eq!(field(3, Value::Array(many)), "deficits");
        assert_eq!(field(3, Value::Array(vec![Value::from("x")])), "deficits");
        assert_eq!(with(9, "later").unwrap(), sample());
    }

    proptest! {
        #[test]
        fn roundtrip(
            digest_prefix: [u8; 8], tsi: u32, round: u32, counts in prop::collection::vec(0u32..70_000, 0..255),
            loss_ppm in prop::option::of(0u32..=1_000_000),
        ) {
            let feedback = Feedback { digest_prefix, tsi, round, deficits: Deficits::from_counts(counts), loss_ppm };
            let bytes = feedback.to_cbor();
            prop_assert!(bytes.len() <= MAX_FEEDBACK_LEN);
            prop_assert_eq!(Feedback::from_cbor(&bytes).unwrap(), feedback);
        }

        #[test]
        fn arbitrary_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let _ = Feedback::from_cbor(&bytes);
            let mut bytes = sample().to_cbor();
            for (at, byte) in edits {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Ok(read) = Feedback::from_cbor(&bytes) {
                prop_assert_eq!(Feedback::from_cbor(&read.to_cbor()).unwrap(), read);
            }
        }
    }
}
