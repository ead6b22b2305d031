//! The session description.

use fleetcast_protocol::sdp::SessionDescription;

/// Reads a description; what was read is written and read again.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(read) = SessionDescription::parse(text) else { return };
    let again = SessionDescription::parse(&read.to_sdp()).expect("what was written can be read");
    assert_eq!((again.channel, again.tsi, again.rate_kbit_s), (read.channel, read.tsi, read.rate_kbit_s));
    assert_eq!((again.session_id, again.session_version), (read.session_id, read.session_version));
    // A long name is cut and a time to live is given, once.
    assert_eq!(SessionDescription::parse(&again.to_sdp()), Ok(again));
}
