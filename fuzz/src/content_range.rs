//! The header of a partial HTTP answer.

use fleetcast_protocol::session::receiver::ranges::ContentRange;

/// Reads a `Content-Range`; what was read holds a byte at least, inside the length that it gives, and answers itself.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Some(read) = ContentRange::parse(text) else { return };
    assert!(!read.bytes.is_empty() && read.complete_len.is_none_or(|len| read.bytes.end <= len));
    assert!(read.answers(&read.bytes, read.complete_len.unwrap_or(0)));
}
