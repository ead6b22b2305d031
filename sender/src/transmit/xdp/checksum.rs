//! The Internet checksum (RFC 1071), summed in the order in which the machine reads memory: the sum of 16-bit words is the
//! same in either byte order, up to that order.

/// The sum of `bytes` as 16-bit words, not folded; an odd last byte counts as the first of a word.
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    if !rest.is_empty() {
        let mut word = [0; 4];
        word[..rest.len()].copy_from_slice(rest);
        total += u64::from(u32::from_ne_bytes(word));
    }
    total
}

/// The sum of one number as it stands on the wire.
pub fn sum_of(number: u16) -> u64 {
    u64::from(u16::from_ne_bytes(number.to_be_bytes()))
}

/// The checksum of a header and what it covers, as the bytes that stand on the wire.
pub fn checksum(mut sum: u64) -> [u8; 2] {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop has left 16 bits.
    (!u16::try_from(sum).unwrap_or(u16::MAX)).to_ne_bytes()
}

/// A UDP checksum: as [`checksum`], but zero, which would mean that there is none, is sent as its other form (RFC 768).
pub fn udp_checksum(sum: u64) -> [u8; 2] {
    match checksum(sum) {
        [0, 0] => [0xff, 0xff],
        bytes => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the RFC says it, word by word in network order.
    fn plainly(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn is_that_of_the_rfc(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(u16::from_be_bytes(checksum(sum(&bytes))), plainly(&bytes));
        }

        #[test]
        fn even_parts_add_up(bytes in prop::collection::vec(any::<u8>(), 2..200), at in any::<prop::sample::Index>()) {
            let (front, back) = bytes.split_at(at.index(bytes.len()) / 2 * 2);
            prop_assert_eq!(checksum(sum(front) + sum(back)), checksum(sum(&bytes)));
        }

        #[test]
        fn a_number_counts_as_its_bytes(number: u16) {
            prop_assert_eq!(sum_of(number), sum(&number.to_be_bytes()));
        }
    }

    #[test]
    fn a_udp_checksum_is_never_absent() {
        assert_eq!(checksum(0xffff), [0, 0]);
        assert_eq!(udp_checksum(0xffff), [0xff, 0xff]);
        assert_eq!(udp_checksum(0), [0xff, 0xff]);
    }
}
