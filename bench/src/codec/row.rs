//! What the codec bench prints.

use crate::report::Row;
use serde::Serialize;

/// One operation at one K.
#[derive(Debug, Serialize)]
pub struct CodecRow {
    pub bench: &'static str,
    /// "encode" or "decode".
    pub op: &'static str,
    /// Source symbols of the block.
    pub k: u32,
    /// Bytes of a symbol.
    pub t: usize,
    /// Source symbols lost, in percent of K; decoding only.
    pub loss: Option<u32>,
    /// Repair symbols computed, in percent of K; encoding only.
    pub repair: Option<u32>,
    /// What ours computes with. The crate always uses the best vectors that it knows of.
    pub kernels: &'static str,
    pub rounds: u32,
    /// 10^6 source bytes a second of CPU time, median.
    pub ours_mb_s: f64,
    pub crate_mb_s: f64,
    /// Ours by the crate's.
    pub ratio: f64,
    /// Median CPU time of ours.
    pub ours_ms: f64,
    /// What this machine could do at best: see [`Bounds`](super::bounds::Bounds).
    pub bound_mb_s: f64,
    /// Peak heap in blocks of K·T bytes, beyond the block and the symbols received or computed. Ours has empty caches: its
    /// encoding plan is counted. The crate's encoding plan is not.
    pub ours_heap_blocks: f64,
    pub crate_heap_blocks: f64,
}

impl Row for CodecRow {
    const COLUMNS: &'static [&'static str] = &[
        "operation",
        "kernels",
        "K",
        "T",
        "MB/s",
        "crate MB/s",
        "ratio",
        "ms",
        "of bound",
        "heap/block",
        "crate heap/block",
    ];

    fn cells(&self) -> Vec<String> {
        let what = match (self.repair, self.loss) {
            (Some(repair), _) => format!("{repair} % repair"),
            (None, loss) => format!("{} % loss", loss.unwrap_or_default()),
        };
        vec![
            format!("{} {what}", self.op),
            self.kernels.to_owned(),
            self.k.to_string(),
            self.t.to_string(),
            format!("{:.0}", self.ours_mb_s),
            format!("{:.0}", self.crate_mb_s),
            format!("{:.2}", self.ratio),
            format!("{:.3}", self.ours_ms),
            format!("{:.0} %", 100.0 * self.ours_mb_s / self.bound_mb_s),
            format!("{:.2}", self.ours_heap_blocks),
            format!("{:.2}", self.crate_heap_blocks),
        ]
    }
}

/// The encoding plan of one K.
#[derive(Debug, Serialize)]
pub struct PlanRow {
    pub bench: &'static str,
    /// "plan".
    pub op: &'static str,
    /// Source symbols of the block.
    pub k: u32,
    /// Median CPU time to compute it.
    pub ours_ms: f64,
    /// The same of the crate.
    pub crate_ms: f64,
    /// Heap that it occupies while it is cached.
    pub heap_bytes: usize,
    /// Rows added for each source symbol.
    pub additions_per_symbol: f64,
}

impl Row for PlanRow {
    const COLUMNS: &'static [&'static str] =
        &["encoding plan", "ms", "crate ms", "bytes", "bytes/symbol", "additions/symbol"];

    fn cells(&self) -> Vec<String> {
        vec![
            format!("K = {}", self.k),
            format!("{:.2}", self.ours_ms),
            format!("{:.2}", self.crate_ms),
            self.heap_bytes.to_string(),
            format!("{:.0}", self.heap_bytes as f64 / f64::from(self.k)),
            format!("{:.1}", self.additions_per_symbol),
        ]
    }
}

/// A speed of this machine.
#[derive(Debug, Serialize)]
pub struct BoundRow {
    pub bench: &'static str,
    /// "bound".
    pub op: &'static str,
    pub what: &'static str,
    /// 10^6 bytes a second.
    pub mb_s: f64,
}

impl Row for BoundRow {
    const COLUMNS: &'static [&'static str] = &["this machine", "MB/s"];

    fn cells(&self) -> Vec<String> {
        vec![self.what.to_owned(), format!("{:.0}", self.mb_s)]
    }
}
