//! What a run of the fleet came to, in full: the file `fleet.json` that the report renders.
//!
//! Times are in seconds after the first packet reached the emulator; bytes are those of Ethernet frames without FCS; shares are
//! from 0 to 1 but for percentages, which say so.

use serde::{Deserialize, Serialize};

/// Name of the file in the folder `--out`.
pub const FILE_NAME: &str = "fleet.json";

/// The whole result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetResult {
    /// The command line that repeats the run.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What in it was real, a sentence each.
    pub real: Vec<String>,
    /// What was emulated, a sentence each.
    pub emulated: Vec<String>,
    /// What was asked for.
    pub settings: Settings,
    /// The object of `--json`.
    pub summary: Summary,
    /// Every router, by its number.
    pub routers: Vec<Router>,
    /// Bytes over time, in equal steps from 0.
    pub timeline: Vec<Step>,
    /// What the sender process did.
    pub sender: Sender,
    /// How late packets were against the rate, as they reached the emulator.
    pub pacing: Pacing,
    /// The real receivers beside their emulated twins.
    pub twins: Vec<Twin>,
    /// Why every emulated block counts as decoded.
    pub proof: Proof,
    /// Whether the emulator saw everything in time.
    pub emulator: Emulator,
}

/// The object of `--json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Always "fleet".
    pub bench: String,
    /// Routers, the dead ones and the real ones among them.
    pub receivers: u32,
    /// Routers that hold the whole image.
    pub verified: u32,
    /// Routers that nothing reaches.
    pub dead: u32,
    /// When the last router was complete.
    pub last_complete_s: f64,
    /// When 99 in 100 of the living were complete.
    pub p99_s: f64,
    /// When half of the living were complete.
    pub p50_s: f64,
    /// When the last router was complete of those that lose at most 2 % and were there from the start.
    pub last_complete_loss_2_percent_s: f64,
    /// Bytes of the sender's frames by bytes of the image.
    pub wire_ratio: f64,
    /// CPU time of the sender process by the time from its start to its end, in percent of one core.
    pub sender_cpu_percent: f64,
    /// Whether the emulator lost nothing and never fell behind.
    pub kept_up: bool,
    /// Receiver processes.
    pub real_receivers: u32,
    /// Whether each of them came to what its emulated twin came to.
    pub real_equal_emulated: bool,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Version of fleetcast.
    pub fleetcast: String,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Routers.
    pub receivers: u32,
    /// Receiver processes among them.
    pub real_receivers: u32,
    /// Length of the image.
    pub image_bytes: u64,
    /// Bits of the wire a second.
    pub rate_bps: u64,
    /// Planned repair, as the sender took it.
    pub repair: String,
    /// Passes.
    pub passes: u32,
    /// Mean loss of the living.
    pub loss: f64,
    /// Mean length of a burst of losses in packets; none: each packet is lost by itself.
    pub burst_packets: Option<u32>,
    /// Share of the routers that join late.
    pub late: f64,
    /// Round trip that the sender reckons with.
    pub rtt_s: f64,
    /// Everything random follows from it.
    pub seed: u64,
}

/// What kind of router one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// There from the start.
    Living,
    /// Joins in the first half of a pass.
    Late,
    /// Nothing reaches it.
    Dead,
}

/// One router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// What kind.
    pub kind: Kind,
    /// Whether a process stands for it.
    pub real: bool,
    /// The loss of its path.
    pub loss: f64,
    /// The loss that it had.
    pub measured_loss: f64,
    /// When it joined.
    pub joined_s: f64,
    /// When it was complete; none: never.
    pub completed_s: Option<f64>,
    /// Its blocks that had losses and were decoded.
    pub decoded_blocks: u32,
    /// Reports that it sent.
    pub reports: u64,
}

/// Bytes in one step of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When it begins.
    pub at_s: f64,
    /// Source symbols.
    pub source_bytes: u64,
    /// Planned repair.
    pub repair_bytes: u64,
    /// Repair that routers asked for.
    pub requested_bytes: u64,
    /// FDT, manifest and announcements.
    pub control_bytes: u64,
    /// Reports of the emulated routers, towards the sender.
    pub feedback_bytes: u64,
}

/// What the sender process did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// From its start to its end.
    pub wall_s: f64,
    /// CPU time in user space.
    pub user_s: f64,
    /// CPU time in the kernel, which charges it with the way of its packets through the lab.
    pub system_s: f64,
    /// Packets by its own count.
    pub packets: u64,
    /// Bytes of its frames, by its own count: an interface counts a super-packet with the headers of one packet.
    pub wire_bytes: u64,
    /// Feedback rounds.
    pub rounds: u64,
    /// Reports that counted.
    pub reports: u64,
    /// Symbols sent on request.
    pub requested_symbols: u64,
    /// Its own word on how late bursts left, in µs, at p50, p99, p99.9 and the largest.
    pub lateness_us: [u64; 4],
}

/// Lateness against the rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pacing {
    /// Bars of the histogram: the upper end of one in µs, and packets in it.
    pub bars: Vec<(u64, u64)>,
    /// At p50, p99, p99.9 and the largest, in µs.
    pub lateness_us: [u64; 4],
}

/// What a receiver came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reception {
    /// Packets that the loss program, or the emulator in its place, saw of the whole stream.
    pub seen: u64,
    /// Of these, packets that it dropped.
    pub dropped: u64,
    /// Symbols that were kept.
    pub symbols: u64,
    /// Verified blocks.
    pub blocks: u32,
    /// Of these, blocks that had losses and were decoded.
    pub decoded_blocks: u32,
    /// Whether the image is complete (for a real one: written, and its SHA-256 compared by the bench).
    pub complete: bool,
    /// When it was.
    pub completed_s: Option<f64>,
}

/// A real receiver and its emulated twin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// The number of the router.
    pub router: u32,
    /// The process.
    pub real: Reception,
    /// Its twin.
    pub emulated: Reception,
    /// Whether both came to the same (all but the time).
    pub equal: bool,
    /// Datagrams that the process's socket dropped.
    pub socket_drops: u64,
    /// CPU time of the process.
    pub cpu_s: f64,
}

/// Why every emulated block counts as decoded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Router-blocks of which all source symbols came.
    pub whole: u64,
    /// With fewer than two symbols beyond K: the rank of what came was computed.
    pub by_rank: u64,
    /// Of those that were computed, the ones that lacked rank (and waited for another symbol).
    pub singular: u64,
    /// With two or more beyond K: by the law of the code.
    pub by_law: u64,
    /// Failures expected by that law, over all of them.
    pub law_failures_expected: f64,
    /// Router-blocks that were decoded from the image's symbols and compared with its hashes, drawn at random.
    pub sampled: u64,
    /// Of these, the ones that had the right hash.
    pub sampled_right: u64,
    /// Singular router-blocks that were decoded so, too.
    pub failures_tried: u64,
    /// Of these, the ones that did not decode then either.
    pub failures_confirmed: u64,
}

/// Whether the emulator saw everything in time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Emulator {
    /// Packets that it received.
    pub packets: u64,
    /// Packets that its socket dropped.
    pub socket_drops: u64,
    /// Symbols missing in the order of the passes.
    pub gaps: u64,
    /// CPU time of the thread that emulates by the time that it was up.
    pub busy_share: f64,
    /// The same of the thread that receives.
    pub receiving_share: f64,
    /// How many times as many packets it could take: the inverse of the larger share.
    pub headroom: f64,
    /// Longest time from a packet's arrival until its effects were computed.
    pub lag_max_s: f64,
    /// The same at p99.
    pub lag_p99_s: f64,
    /// The longest while the sender asked for reports.
    pub round_lag_max_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_steps_read_as_scripts_expect() {
        let step = Step { at_s: 0.5, source_bytes: 7, ..Step::default() };
        let json = serde_json::to_value(step).unwrap();
        assert_eq!((json["at_s"].as_f64(), json["source_bytes"].as_u64()), (Some(0.5), Some(7)));
        assert_eq!(serde_json::from_value::<Step>(json).unwrap(), step);
        assert_eq!(serde_json::to_value(Kind::Living).unwrap(), "living");
    }
}
