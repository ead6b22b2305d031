//! The file delivery table.

use fleetcast_protocol::fdt::{Fdt, FdtError, MAX_FILES};

/// Reads an FDT; what was read is written and read again.
pub fn run(bytes: &[u8]) {
    let mut fdt = match Fdt::parse(bytes) {
        Ok(fdt) => fdt,
        Err(error) => return assert!(error.to_string().len() < 1_000, "a stranger's bytes fill a log: {error}"),
    };
    assert!(fdt.files.len() <= MAX_FILES);
    let xml = fdt.to_xml();
    // 32 bits of the time are written (RFC 6726 §3.3).
    fdt.expires_ntp_s &= u64::from(u32::MAX);
    match Fdt::parse(xml.as_bytes()) {
        Ok(again) => assert_eq!(again, fdt, "{xml}"),
        // Escaped characters take more bytes than they did.
        Err(FdtError::AttributeTooLong { .. } | FdtError::TooLong(_)) => {}
        Err(error) => panic!("what was written cannot be read: {error}\n{xml}"),
    }
}
