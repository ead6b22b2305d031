//! What a receiver session counted.

/// Counters of one receiver session. Each packet is counted once among `symbols`, `surplus`, `early`, `foreign`,
/// `malformed` and `control`; the other counters are of manifests and blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets seen.
    pub packets: u64,
    /// Bytes of their UDP payloads.
    pub bytes: u64,
    /// Symbols that were kept.
    pub symbols: u64,
    /// Symbols that were repeats, or of blocks that needed no more.
    pub surplus: u64,
    /// Symbols that came before the manifest was accepted.
    pub early: u64,
    /// Packets of other sessions or of objects that are not ours.
    pub foreign: u64,
    /// Packets that break the wire format or do not fit the manifest.
    pub malformed: u64,
    /// FDT, manifest and announcement packets.
    pub control: u64,
    /// Manifests that were not accepted.
    pub refused: u64,
    /// Blocks whose hash matched.
    pub verified_blocks: u32,
    /// Of those, blocks that had losses and were decoded.
    pub decoded_blocks: u32,
    /// Of those, blocks that were found whole in staging at the start.
    pub restored_blocks: u32,
    /// Symbols of other blocks that were found there.
    pub restored_symbols: u64,
    /// Symbols that were found to be forged: their blocks were verified without them.
    pub forged_symbols: u64,
    /// Blocks that decoded to other content than the manifest promises: an alarm, somebody forged a symbol.
    pub corrupt_blocks: u32,
    /// Symbols that were fetched from web servers and kept; not among `symbols`.
    pub fetched_symbols: u64,
    /// Bytes that came from web servers.
    pub fetched_bytes: u64,
    /// Requests to them.
    pub fetch_requests: u64,
    /// Fetches that a server did not complete.
    pub fetch_failures: u64,
    /// Reports of what is lacking that were sent.
    pub feedback_reports: u64,
    /// Bytes of their UDP payloads.
    pub feedback_bytes: u64,
    /// Decodes that failed for a singular set of symbols.
    pub singular_decodes: u32,
}
