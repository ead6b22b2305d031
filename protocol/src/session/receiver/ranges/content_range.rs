//! The header `Content-Range` of a partial answer (RFC 9110 §14.4): the one field of HTTP that we read ourselves.

use std::ops::Range;

/// Longest value that is looked at, in bytes: two 20-digit positions and a length fit.
const MAX_LEN: usize = 80;

/// Which bytes of which length an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes, the last one excluded.
    pub bytes: Range<u64>,
    /// Length of the whole; `None` when the server does not say.
    pub complete_len: Option<u64>,
}

impl ContentRange {
    /// Reads the value of a `Content-Range`; `None` when it is not one range of bytes.
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() > MAX_LEN {
            return None;
        }
        let (unit, rest) = value.trim().split_once(' ')?;
        let (positions, complete) = rest.split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let bytes = number(first)?..number(last)?.checked_add(1)?;
        let complete_len = if complete == "*" { None } else { Some(number(complete)?) };
        let fits = !bytes.is_empty() && complete_len.is_none_or(|len| bytes.end <= len);
        (unit.eq_ignore_ascii_case("bytes") && fits).then_some(Self { bytes, complete_len })
    }

    /// Whether it is what `asked` asked for, of an image of `image_len` bytes.
    pub fn answers(&self, asked: &Range<u64>, image_len: u64) -> bool {
        self.bytes == *asked && self.complete_len.is_none_or(|len| len == image_len)
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_servers_write() {
        let range = ContentRange::parse("bytes 0-1343/50000000").unwrap();
        assert_eq!(range, ContentRange { bytes: 0..1344, complete_len: Some(50_000_000) });
        assert!(range.answers(&(0..1344), 50_000_000));
        assert!(!range.answers(&(0..1345), 50_000_000) && !range.answers(&(0..1344), 50_000_001));
        assert!(ContentRange::parse("Bytes 7-7/*").unwrap().answers(&(7..8), 99));
    }

    #[test]
    fn refuses_the_rest() {
        let long = format!("bytes 0-{}/*", "0".repeat(80));
        for bad in [
            "",
            "bytes",
            "bytes 0-1",
            "bytes */100",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes +0-1/10",
            "bytes 0--1/10",
            "items 0-1/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-1/10, 3-4/10",
            "bytes=0-1/10",
            &long,
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in ".{0,100}") {
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert!(!range.bytes.is_empty());
            }
        }

        #[test]
        fn roundtrip(first in 0u64..1 << 40, len in 1u64..1 << 30, more in 0u64..1 << 40) {
            let (bytes, complete) = (first..first + len, first + len + more);
            let read = ContentRange::parse(&format!("bytes {}-{}/{complete}", bytes.start, bytes.end - 1)).unwrap();
            prop_assert!(read.answers(&bytes, complete));
        }
    }
}
