//! The announcement.

use fleetcast_protocol::announcement::{
    Announcement, MAX_ANNOUNCEMENT_LEN, MAX_BACKOFF_MS, MAX_GROUP_SIZE, MAX_REPAIR_SYMBOLS, MAX_REPAIR_URLS,
    MAX_RTT_MS, MAX_URL_LEN, MAX_WINDOW_BLOCKS,
};

/// Reads an announcement; its fields are within their limits, and what was read is written and read again.
pub fn run(bytes: &[u8]) {
    let Ok(announcement) = Announcement::from_cbor(bytes) else { return };
    assert!((1..=MAX_WINDOW_BLOCKS).contains(&announcement.window_blocks));
    let (larger, smaller) = announcement.repair_symbols;
    assert!(larger <= MAX_REPAIR_SYMBOLS && smaller <= MAX_REPAIR_SYMBOLS);
    assert!(announcement.group_size.is_none_or(|size| (1..=MAX_GROUP_SIZE).contains(&size)));
    assert!(announcement.rtt_ms.is_none_or(|rtt| (1..=MAX_RTT_MS).contains(&rtt)));
    assert!(announcement.backoff_ms.is_none_or(|backoff| backoff <= MAX_BACKOFF_MS));
    assert!(announcement.repair_urls.len() <= MAX_REPAIR_URLS);
    assert!(announcement.repair_urls.iter().all(|url| url.len() <= MAX_URL_LEN));
    let written = announcement.to_cbor().expect("what was read can be written");
    assert!(written.len() <= MAX_ANNOUNCEMENT_LEN);
    assert_eq!(Announcement::from_cbor(&written), Ok(announcement));
}
