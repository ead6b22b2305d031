//! Digests as text.

/// Bytes as lower-case hex digits.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A SHA-256 from its 64 hex digits.
pub fn decode_sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = |at: usize| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let bytes: Option<Vec<u8>> = (0..32).map(digits).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_survive_and_other_text_does_not() {
        let digest = std::array::from_fn(|n| u8::try_from(n * 7).unwrap_or(255));
        assert_eq!(decode_sha256(&encode(&digest)), Some(digest));
        for bad in ["", "ab", &"x".repeat(64), &"é".repeat(32), &"+1".repeat(32)] {
            assert_eq!(decode_sha256(bad), None);
        }
    }
}
