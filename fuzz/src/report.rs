//! A device's report.

use fleetcast_protocol::fleet::{DeviceReport, MAX_REPORT_LEN};

/// Reads a report; what was read is written within its bound and reads the same.
pub fn run(bytes: &[u8]) {
    let Ok(read) = DeviceReport::from_cbor(bytes) else { return };
    let written = read.to_cbor();
    assert!(written.len() <= MAX_REPORT_LEN);
    assert_eq!(DeviceReport::from_cbor(&written), Ok(read));
}
