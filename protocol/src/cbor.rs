//! CBOR maps with integer keys, written and read in deterministic form (RFC 8949 §4.2.1), for the manifest and the
//! announcement.
//!
//! Reading is strict, because one meaning must have one encoding: whatever does not come out of our own encoder byte
//! for byte (longer integers than needed, indefinite lengths, unsorted or repeated keys, trailing bytes) is refused.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ciborium::Value;
use thiserror::Error;

/// Deepest nesting read: a map that holds arrays of scalars needs 3, the rest is room for extensions.
const MAX_DEPTH: usize = 16;

/// Why bytes are no CBOR map of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CborError {
    /// Refused before anything was parsed.
    #[error("{len} bytes are more than the {max} allowed")]
    TooLong {
        /// Bytes offered.
        len: usize,
        /// Most bytes read.
        max: usize,
    },
    /// Truncated, nested too deeply, or no CBOR at all.
    #[error("it is not well-formed CBOR (truncated or damaged)")]
    Malformed,
    /// More bytes after the item.
    #[error("{0} bytes follow the end of the CBOR item")]
    Trailing(usize),
    /// RFC 8949 §4.2.1 is broken: an integer longer than needed, an indefinite length, unsorted keys.
    #[error("it is not in the deterministic encoding of RFC 8949 section 4.2.1")]
    NotDeterministic,
    /// The outermost item is something else.
    #[error("it is not a CBOR map")]
    NotAMap,
    /// A key is no integer.
    #[error("a map key is not an integer")]
    Key,
    /// A key comes twice.
    #[error("map key {0} comes twice")]
    DuplicateKey(i128),
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("field `{field}` {problem}")]
pub struct FieldError {
    /// Name of the field, as in the CDDL.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// Kinds of [`FieldError`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// A mandatory field is absent.
    #[error("is missing")]
    Missing,
    /// The CBOR type is another one.
    #[error("is not {0}")]
    Type(&'static str),
    /// Too short or too long: bytes of a string, entries of an array.
    #[error("has length {len}, allowed are {min} to {max}")]
    Length {
        /// Length found.
        len: usize,
        /// Least allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// A number out of its range.
    #[error("is {value}, allowed are {min} to {max}")]
    Range {
        /// Value found.
        value: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// A character that must not be there.
    #[error("contains the character {0:?}, which is not allowed there")]
    Character(char),
    /// Text that is refused as a whole.
    #[error("must not be {0:?}")]
    Text(&'static str),
}

impl FieldProblem {
    pub(crate) fn of(self, field: &'static str) -> FieldError {
        FieldError { field, problem: self }
    }
}

/// Encodes one item; integers and lengths come out in their shortest form.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to a Vec does not fail");
    out
}

/// Encodes a map; `entries` must ascend by key, all keys non-negative, for the deterministic order.
pub(crate) fn encode_map(entries: Vec<(u64, Value)>) -> Vec<u8> {
    debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
    encode(&Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect()))
}

/// Decodes one item of bounded depth that fills `bytes`; the caller has bounded its length.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, CborError> {
    let mut rest = bytes;
    let value: Value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|_| CborError::Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(CborError::Trailing(rest.len())) }
}

/// The fields of a decoded map, taken out one by one.
#[derive(Debug)]
pub(crate) struct Fields(BTreeMap<i128, Value>);

impl Fields {
    /// Decodes a deterministic map of integer keys of at most `max_len` bytes.
    pub(crate) fn decode(bytes: &[u8], max_len: usize) -> Result<Self, CborError> {
        if bytes.len() > max_len {
            return Err(CborError::TooLong { len: bytes.len(), max: max_len });
        }
        let value = decode(bytes)?;
        let reencoded = encode(&value);
        let Value::Map(entries) = value else { return Err(CborError::NotAMap) };
        let mut fields = BTreeMap::new();
        let mut previous: Option<Vec<u8>> = None;
        for (key, value) in entries {
            let encoded_key = encode(&key);
            let number = i128::from(key.into_integer().map_err(|_| CborError::Key)?);
            match fields.entry(number) {
                Entry::Vacant(slot) => slot.insert(value),
                Entry::Occupied(_) => return Err(CborError::DuplicateKey(number)),
            };
            if previous.is_some_and(|previous| previous >= encoded_key) {
                return Err(CborError::NotDeterministic);
            }
            previous = Some(encoded_key);
        }
        if reencoded == bytes { Ok(Self(fields)) } else { Err(CborError::NotDeterministic) }
    }

    /// The smallest non-negative key that nobody took: something its writer considers essential and we do not know.
    pub(crate) fn unknown_critical(&self) -> Option<u64> {
        self.0.range(0..).find_map(|(key, _)| u64::try_from(*key).ok())
    }

    pub(crate) fn take(&mut self, key: u64) -> Option<Value> {
        self.0.remove(&i128::from(key))
    }

    pub(crate) fn required(&mut self, key: u64, field: &'static str) -> Result<Value, FieldError> {
        self.take(key).ok_or_else(|| FieldProblem::Missing.of(field))
    }

    pub(crate) fn required_uint(&mut self, key: u64, field: &'static str) -> Result<u64, FieldError> {
        uint(self.required(key, field)?, field)
    }

    pub(crate) fn optional_uint(&mut self, key: u64, field: &'static str) -> Result<Option<u64>, FieldError> {
        self.take(key).map(|value| uint(value, field)).transpose()
    }

    pub(crate) fn required_text(&mut self, key: u64, field: &'static str) -> Result<String, FieldError> {
        text(self.required(key, field)?, field)
    }

    pub(crate) fn required_sha256(&mut self, key: u64, field: &'static str) -> Result<[u8; 32], FieldError> {
        sha256(&self.required(key, field)?, field)
    }

    pub(crate) fn required_array(&mut self, key: u64, field: &'static str) -> Result<Vec<Value>, FieldError> {
        array(self.required(key, field)?, field)
    }
}

pub(crate) fn uint(value: Value, field: &'static str) -> Result<u64, FieldError> {
    let integer = value.into_integer().map_err(|_| FieldProblem::Type("an unsigned integer").of(field))?;
    u64::try_from(integer).map_err(|_| FieldProblem::Type("an unsigned integer").of(field))
}

pub(crate) fn text(value: Value, field: &'static str) -> Result<String, FieldError> {
    value.into_text().map_err(|_| FieldProblem::Type("a text string").of(field))
}

pub(crate) fn array(value: Value, field: &'static str) -> Result<Vec<Value>, FieldError> {
    value.into_array().map_err(|_| FieldProblem::Type("an array").of(field))
}

pub(crate) fn sha256(value: &Value, field: &'static str) -> Result<[u8; 32], FieldError> {
    let bytes = value.as_bytes().ok_or_else(|| FieldProblem::Type("a byte string").of(field))?;
    <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| FieldProblem::Length { len: bytes.len(), min: 32, max: 32 }.of(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_deterministic() {
        let decode = |bytes: &[u8]| Fields::decode(bytes, 64).map(|_| ());
        assert_eq!(decode(b"\xa2\x00\x01\x20\x02"), Ok(())); // {0: 1, -1: 2}
        assert_eq!(decode(b"\xa2\x20\x02\x00\x01"), Err(CborError::NotDeterministic)); // unsorted
        assert_eq!(decode(b"\xa1\x00\x18\x01"), Err(CborError::NotDeterministic)); // 1 in two bytes
        assert_eq!(decode(b"\xa1\x00\x19\x00\x01"), Err(CborError::NotDeterministic));
        assert_eq!(decode(b"\xb8\x01\x00\x01"), Err(CborError::NotDeterministic)); // length in two bytes
        assert_eq!(decode(b"\xbf\x00\x01\xff"), Err(CborError::NotDeterministic)); // indefinite map
        assert_eq!(decode(b"\xa1\x00\x5f\x41\x01\xff"), Err(CborError::NotDeterministic)); // indefinite string
        assert_eq!(decode(b"\xa1\x00\xc2\x41\x01"), Err(CborError::NotDeterministic)); // 1 as a bignum
        assert_eq!(decode(b"\xa2\x00\x01\x00\x02"), Err(CborError::DuplicateKey(0)));
        assert_eq!(decode(b"\xa1\x00\x01\x00"), Err(CborError::Trailing(1)));
        assert_eq!(decode(b"\xa1\x00"), Err(CborError::Malformed));
        assert_eq!(decode(b""), Err(CborError::Malformed));
        assert_eq!(decode(b"\x80"), Err(CborError::NotAMap));
        assert_eq!(decode(b"\xa1\x61a\x00"), Err(CborError::Key));
        assert_eq!(decode(&[0; 65]), Err(CborError::TooLong { len: 65, max: 64 }));
    }

    #[test]
    fn nesting_is_bounded_however_long_the_input() {
        for opener in [0x81, 0xa1, 0xc1, 0x9f, 0xbf, 0xd8] {
            assert_eq!(decode(&[opener; 65_536]), Err(CborError::Malformed), "{opener:#x}");
        }
    }

    #[test]
    fn announced_lengths_are_not_believed() {
        for start in [
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x7b\x00\x00\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(start), Err(CborError::Malformed));
        }
    }
}
