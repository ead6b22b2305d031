//! The announcement (TOI 3): one packet of CBOR that says where a session stands; schema in `docs/announcement.cddl`.
//!
//! It is not signed and decides nothing: every number is clamped to a limit that a receiver can live with, whatever an
//! attacker writes. Keys that this version does not know are ignored.

use ciborium::Value;
use thiserror::Error;

use crate::cbor::{self, Fields};
pub use crate::cbor::{CborError, FieldError, FieldProblem};
use crate::feedback::Deficits;

/// Longest announcement, in bytes: it must fit one packet of any path.
pub const MAX_ANNOUNCEMENT_LEN: usize = 1200;
/// Most repair URLs.
pub const MAX_REPAIR_URLS: usize = 4;
/// Longest repair URL, in bytes.
pub const MAX_URL_LEN: usize = 200;
/// Largest interleave window: every block there is.
pub const MAX_WINDOW_BLOCKS: u16 = crate::partition::MAX_BLOCKS;
/// Most repair symbols a block can have: the 24 bits of the ESI.
pub const MAX_REPAIR_SYMBOLS: u32 = fleetcast_fec::MAX_ESI;
/// Largest group size that scales a back-off.
pub const MAX_GROUP_SIZE: u32 = 10_000_000;
/// Longest round-trip time, in ms: two satellite hops and much queueing.
pub const MAX_RTT_MS: u32 = 10_000;
/// Longest back-off, in ms: ten minutes.
pub const MAX_BACKOFF_MS: u32 = 600_000;

mod key {
    pub(super) const COUNTER: u64 = 0;
    pub(super) const MANIFEST_DIGEST: u64 = 1;
    pub(super) const PASS: u64 = 2;
    pub(super) const PASSES: u64 = 3;
    pub(super) const PASS_ENDED: u64 = 4;
    pub(super) const WINDOW_BLOCKS: u64 = 5;
    pub(super) const REPAIR_SYMBOLS: u64 = 6;
    pub(super) const GROUP_SIZE: u64 = 7;
    pub(super) const RTT_MS: u64 = 8;
    pub(super) const BACKOFF_MS: u64 = 9;
    pub(super) const FEEDBACK_PORT: u64 = 10;
    pub(super) const REPAIR_URLS: u64 = 11;
    pub(super) const ROUND: u64 = 12;
    pub(super) const COVERED: u64 = 13;
}

/// Where a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Rises with every announcement of a session; an older one that arrives late is ignored.
    pub counter: u64,
    /// Digest of the manifest that the session carries.
    pub manifest_digest: [u8; 32],
    /// The pass being sent, 0 for the first.
    pub pass: u32,
    /// Passes planned, at least 1; `None` for a carousel without an end.
    pub passes: Option<u32>,
    /// The pass is over: what follows is repair or the next pass.
    pub pass_ended: bool,
    /// Source blocks interleaved at a time, 1 to 255.
    pub window_blocks: u16,
    /// Repair symbols planned per block and pass: for blocks of the larger K, and of the smaller.
    pub repair_symbols: (u32, u32),
    /// Estimate of the number of receivers, at least 1.
    pub group_size: Option<u32>,
    /// Estimate of the largest round-trip time, in ms, at least 1.
    pub rtt_ms: Option<u32>,
    /// Window of the feedback back-off, in ms.
    pub backoff_ms: Option<u32>,
    /// UDP port at the source that takes feedback; `None`: there is none.
    pub feedback_port: Option<u16>,
    /// Where the sealed image lies on HTTP servers, at most 4 of at most 200 bytes, `http://` or `https://`.
    pub repair_urls: Vec<String>,
    /// The feedback round that is open, counted from 1 within a session; `None`: nothing is asked.
    pub round: Option<u32>,
    /// Symbols by block that will be repaired, as far as receivers have asked for them in this round.
    pub covered: Deficits,
}

/// Why an announcement cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnnouncementError {
    /// The bytes are no map of ours.
    #[error("this is not an announcement: {0}")]
    Cbor(#[from] CborError),
    /// A field is missing or of another type.
    #[error("announcement {0}")]
    Field(#[from] FieldError),
    /// Too many URLs to announce.
    #[error("{0} repair URLs are too many, at most {MAX_REPAIR_URLS} fit an announcement")]
    Urls(usize),
    /// A URL that cannot be announced.
    #[error(
        "repair URL {0:?} cannot be announced: it must start with http:// or https://, have at most {MAX_URL_LEN} \
         bytes and hold no spaces or control characters"
    )]
    Url(String),
}

impl Announcement {
    /// The encoding, at most [`MAX_ANNOUNCEMENT_LEN`] bytes; an error when a repair URL cannot be announced.
    pub fn to_cbor(&self) -> Result<Vec<u8>, AnnouncementError> {
        if self.repair_urls.len() > MAX_REPAIR_URLS {
            return Err(AnnouncementError::Urls(self.repair_urls.len()));
        }
        if let Some(url) = self.repair_urls.iter().find(|url| !is_repair_url(url)) {
            return Err(AnnouncementError::Url(url.chars().take(MAX_URL_LEN).collect()));
        }
        let mut entries = vec![
            (key::COUNTER, Value::from(self.counter)),
            (key::MANIFEST_DIGEST, Value::Bytes(self.manifest_digest.to_vec())),
            (key::PASS, Value::from(self.pass)),
        ];
        let mut put = |key, value: Option<Value>| entries.extend(value.map(|value| (key, value)));
        put(key::PASSES, self.passes.map(Value::from));
        put(key::PASS_ENDED, Some(Value::from(self.pass_ended)));
        put(key::WINDOW_BLOCKS, Some(Value::from(self.window_blocks)));
        let (larger, smaller) = self.repair_symbols;
        put(key::REPAIR_SYMBOLS, Some(Value::Array(vec![Value::from(larger), Value::from(smaller)])));
        put(key::GROUP_SIZE, self.group_size.map(Value::from));
        put(key::RTT_MS, self.rtt_ms.map(Value::from));
        put(key::BACKOFF_MS, self.backoff_ms.map(Value::from));
        put(key::FEEDBACK_PORT, self.feedback_port.map(Value::from));
        let urls: Vec<Value> = self.repair_urls.iter().map(|url| Value::from(url.as_str())).collect();
        put(key::REPAIR_URLS, (!urls.is_empty()).then_some(Value::Array(urls)));
        put(key::ROUND, self.round.map(Value::from));
        put(key::COVERED, (!self.covered.is_empty()).then(|| self.covered.to_value()));
        Ok(cbor::encode_map(entries))
    }

    /// Reads an announcement and clamps what it says. Wrong types are errors; numbers out of range come out as the
    /// nearest allowed one; URLs that could not be announced by us are left out.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, AnnouncementError> {
        let mut fields = Fields::decode(bytes, MAX_ANNOUNCEMENT_LEN)?;
        let window_blocks = fields.required_uint(key::WINDOW_BLOCKS, "window_blocks")?;
        let feedback_port = fields.optional_uint(key::FEEDBACK_PORT, "feedback_port")?;
        Ok(Self {
            counter: fields.required_uint(key::COUNTER, "counter")?,
            manifest_digest: fields.required_sha256(key::MANIFEST_DIGEST, "manifest_digest")?,
            pass: clamp(fields.required_uint(key::PASS, "pass")?, 0, u32::MAX),
            passes: optional(&mut fields, key::PASSES, "passes", 1, u32::MAX)?,
            pass_ended: read_bool(fields.required(key::PASS_ENDED, "pass_ended")?, "pass_ended")?,
            window_blocks: u16::try_from(window_blocks).unwrap_or(u16::MAX).clamp(1, MAX_WINDOW_BLOCKS),
            repair_symbols: read_repair_symbols(&mut fields)?,
            group_size: optional(&mut fields, key::GROUP_SIZE, "group_size", 1, MAX_GROUP_SIZE)?,
            rtt_ms: optional(&mut fields, key::RTT_MS, "rtt_ms", 1, MAX_RTT_MS)?,
            backoff_ms: optional(&mut fields, key::BACKOFF_MS, "backoff_ms", 0, MAX_BACKOFF_MS)?,
            // No port is near to one that does not exist: without a valid one there is no feedback.
            feedback_port: feedback_port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0),
            repair_urls: read_urls(&mut fields)?,
            round: optional(&mut fields, key::ROUND, "round", 1, u32::MAX)?,
            covered: fields
                .take(key::COVERED)
                .map_or(Ok(Deficits::default()), |value| Deficits::from_value(value, "covered"))?,
        })
    }
}

fn clamp(value: u64, min: u32, max: u32) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX).clamp(min, max)
}

fn optional(
    fields: &mut Fields,
    key: u64,
    field: &'static str,
    min: u32,
    max: u32,
) -> Result<Option<u32>, AnnouncementError> {
    Ok(fields.optional_uint(key, field)?.map(|value| clamp(value, min, max)))
}

fn read_bool(value: Value, field: &'static str) -> Result<bool, FieldError> {
    value.into_bool().map_err(|_| FieldProblem::Type("true or false").of(field))
}

fn read_repair_symbols(fields: &mut Fields) -> Result<(u32, u32), AnnouncementError> {
    const FIELD: &str = "repair_symbols";
    let counts = fields.required_array(key::REPAIR_SYMBOLS, FIELD)?;
    let len = counts.len();
    let [larger, smaller] = <[Value; 2]>::try_from(counts)
        .map_err(|_| FieldProblem::Length { len, min: 2, max: 2 }.of(FIELD))?
        .map(|count| cbor::uint(count, FIELD).map(|count| clamp(count, 0, MAX_REPAIR_SYMBOLS)));
    Ok((larger?, smaller?))
}

fn read_urls(fields: &mut Fields) -> Result<Vec<String>, AnnouncementError> {
    const FIELD: &str = "repair_urls";
    let Some(value) = fields.take(key::REPAIR_URLS) else { return Ok(Vec::new()) };
    let urls = cbor::array(value, FIELD)?.into_iter().map(|url| cbor::text(url, FIELD));
    let urls = urls.collect::<Result<Vec<_>, _>>()?;
    Ok(urls.into_iter().filter(|url| is_repair_url(url)).take(MAX_REPAIR_URLS).collect())
}

/// Whether `url` can be announced. It goes into a request line: printable ASCII without spaces, and a host after the scheme.
pub fn is_repair_url(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|host| host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
        && url.len() <= MAX_URL_LEN
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Announcement {
        Announcement {
            counter: 5,
            manifest_digest: [9; 32],
            pass: 0,
            passes: Some(1),
            pass_ended: false,
            window_blocks: 8,
            repair_symbols: (100, 99),
            group_size: None,
            rtt_ms: None,
            backoff_ms: None,
            feedback_port: None,
            repair_urls: vec![],
            round: None,
            covered: Deficits::default(),
        }
    }

    /// A full announcement with one entry replaced.
    fn with(key: u64, value: impl Into<Value>) -> Result<Announcement, AnnouncementError> {
        let Value::Map(mut entries) = cbor::decode(&sample().to_cbor().unwrap()).unwrap() else { panic!("no map") };
        entries.retain(|(k, _)| *k != Value::from(key));
        entries.push((Value::from(key), value.into()));
        entries.sort_by_key(|(k, _)| cbor::encode(k));
        Announcement::from_cbor(&cbor::encode(&Value::Map(entries)))
    }

    #[test]
    fn encoding_is_the_documented_one() {
        let hex: String = sample().to_cbor().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("a70005015820{}0200030104f4050806821864 1863", "09".repeat(32)).replace(' ', ""));
    }

    #[test]
    fn the_largest_fits_a_packet() {
        let largest = Announcement {
            counter: u64::MAX,
            pass: u32::MAX,
            passes: Some(u32::MAX),
            window_blocks: MAX_WINDOW_BLOCKS,
            repair_symbols: (MAX_REPAIR_SYMBOLS, MAX_REPAIR_SYMBOLS),
            group_size: Some(MAX_GROUP_SIZE),
            rtt_ms: Some(MAX_RTT_MS),
            backoff_ms: Some(MAX_BACKOFF_MS),
            feedback_port: Some(u16::MAX),
            repair_urls: vec![format!("https://{}", "a".repeat(MAX_URL_LEN - 8)); MAX_REPAIR_URLS],
            ..sample()
        };
        let in_a_round = Announcement {
            repair_urls: vec![],
            round: Some(u32::MAX),
            covered: Deficits::from_counts([u32::MAX; 255]),
            ..largest.clone()
        };
        assert!(in_a_round.to_cbor().unwrap().len() <= MAX_ANNOUNCEMENT_LEN);
        let bytes = largest.to_cbor().unwrap();
        assert!(bytes.len() <= MAX_ANNOUNCEMENT_LEN, "{}", bytes.len());
        assert_eq!(Announcement::from_cbor(&bytes).unwrap(), largest);
        let padded = [bytes, vec![0; MAX_ANNOUNCEMENT_LEN]].concat();
        assert!(matches!(Announcement::from_cbor(&padded), Err(AnnouncementError::Cbor(CborError::TooLong { .. }))));
    }

    #[test]
    fn numbers_are_clamped() {
        assert_eq!(with(2, u64::MAX).unwrap().pass, u32::MAX);
        assert_eq!(with(3, 0).unwrap().passes, Some(1));
        assert_eq!(with(5, 0).unwrap().window_blocks, 1);
        assert_eq!(with(5, 256).unwrap().window_blocks, 255);
        assert_eq!(with(5, u64::MAX).unwrap().window_blocks, 255);
        let counts = vec![Value::from(u64::MAX), Value::from(7)];
        assert_eq!(with(6, counts).unwrap().repair_symbols, (MAX_REPAIR_SYMBOLS, 7));
        assert_eq!(with(7, 0).unwrap().group_size, Some(1));
        assert_eq!(with(7, u64::MAX).unwrap().group_size, Some(MAX_GROUP_SIZE));
        assert_eq!(with(8, 0).unwrap().rtt_ms, Some(1));
        assert_eq!(with(8, 1u64 << 40).unwrap().rtt_ms, Some(MAX_RTT_MS));
        assert_eq!(with(9, 1u64 << 40).unwrap().backoff_ms, Some(MAX_BACKOFF_MS));
        assert_eq!(with(10, 0).unwrap().feedback_port, None);
        assert_eq!(with(10, 65_536).unwrap().feedback_port, None);
        assert_eq!(with(10, 65_535).unwrap().feedback_port, Some(65_535));
    }

    #[test]
    fn urls_are_bounded_when_read_and_refused_when_written() {
        let long = format!("http://{}", "a".repeat(MAX_URL_LEN - 6));
        let bad = [
            "ftp://host/x",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "HTTP://h",
            "http://h/\r\nX: y",
            "http://h/a b",
            "http://h/\u{e9}",
            "//h/x",
            "",
            &long,
        ];
        for url in bad {
            let announcement = Announcement { repair_urls: vec![url.into()], ..sample() };
            assert!(matches!(announcement.to_cbor(), Err(AnnouncementError::Url(_))), "{url}");
            assert_eq!(with(11, vec![Value::from(url)]).unwrap().repair_urls, Vec::<String>::new(), "{url}");
        }
        let five: Vec<String> = (0..5).map(|n| format!("https://cdn{n}.example/fw.sealed")).collect();
        let announcement = Announcement { repair_urls: five.clone(), ..sample() };
        assert_eq!(announcement.to_cbor(), Err(AnnouncementError::Urls(5)));
        let values: Vec<Value> = five.iter().map(|url| Value::from(url.as_str())).collect();
        assert_eq!(with(11, values).unwrap().repair_urls, five[..4]);
    }

    #[test]
    fn unknown_keys_are_ignored_and_wrong_types_named() {
        assert_eq!(with(14, "later").unwrap(), sample());
        let field = |key, value: Value| match with(key, value) {
            Err(AnnouncementError::Field(error)) => error.field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(0, Value::from(-1)), "counter");
        assert_eq!(field(1, Value::Bytes(vec![0; 31])), "manifest_digest");
        assert_eq!(field(4, Value::from(0)), "pass_ended");
        assert_eq!(field(6, Value::Array(vec![Value::from(1)])), "repair_symbols");
        assert_eq!(field(6, Value::Array(vec![Value::from(1), Value::Null])), "repair_symbols");
        assert_eq!(field(7, Value::Null), "group_size");
        assert_eq!(field(11, Value::from("http://h")), "repair_urls");
        assert_eq!(field(11, Value::Array(vec![Value::from(1)])), "repair_urls");
        assert_eq!(field(12, Value::from("x")), "round");
        assert_eq!(field(13, Value::from(1)), "covered");
        assert_eq!(field(13, Value::Array(vec![Value::from(1); 256])), "covered");
    }

    proptest! {
        #[test]
        fn roundtrip(
            counter: u64, manifest_digest: [u8; 32], pass: u32, passes in proptest::option::of(1u32..),
            pass_ended: bool, window_blocks in 1u16..=255, larger in 0..=MAX_REPAIR_SYMBOLS,
            smaller in 0..=MAX_REPAIR_SYMBOLS, group_size in proptest::option::of(1..=MAX_GROUP_SIZE),
            rtt_ms in proptest::option::of(1..=MAX_RTT_MS), backoff_ms in proptest::option::of(0..=MAX_BACKOFF_MS),
            feedback_port in proptest::option::of(1u16..),
            repair_urls in proptest::collection::vec("https?://[a-z]{1,20}/[!-~]{0,100}", 0..=4),
            round in proptest::option::of(1u32..), covered in proptest::collection::vec(0u32..70_000, 0..100),
        ) {
            let announcement = Announcement {
                counter, manifest_digest, pass, passes, pass_ended, window_blocks,
                repair_symbols: (larger, smaller), group_size, rtt_ms, backoff_ms, feedback_port, repair_urls, round,
                covered: Deficits::from_counts(covered),
            };
            let bytes = announcement.to_cbor().unwrap();
            prop_assert!(bytes.len() <= MAX_ANNOUNCEMENT_LEN);
            prop_assert_eq!(Announcement::from_cbor(&bytes).unwrap(), announcement);
        }

        #[test]
        fn arbitrary_and_mutated_bytes_never_panic_and_stay_in_bounds(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let _ = Announcement::from_cbor(&bytes);
            let mut bytes = sample().to_cbor().unwrap();
            for (at, byte) in edits {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Ok(read) = Announcement::from_cbor(&bytes) {
                // What was read can be announced again and reads the same: every clamp holds.
                prop_assert_eq!(Announcement::from_cbor(&read.to_cbor().unwrap()).unwrap(), read);
            }
        }
    }
}
