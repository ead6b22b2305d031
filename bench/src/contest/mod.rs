//! fleetcast and a peer in one lab: one receiver, no loss injected, no shaping; the same image, turn about.
//!
//! Both take the image from, and put it on, a RAM disk, so that no disk decides.

mod child;
mod fleetcast;
mod row;
mod uftp;

pub use child::{CpuTimes, cpu_s_now, cpu_s_when_ended, cpu_times_when_ended};
pub use row::ContestRow;
pub use uftp::Uftp;

use anyhow::Context;
use fleetcast_cli::units::{UnitError, parse_permyriad};
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::lab::{Lab, port};
use fleetcast_tests::release::Release;
use fleetcast_tests::{LabError, interrupt};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// The repair that fleetcast sends by default.
pub const REPAIR: &str = "5%";

/// A RAM disk that every Linux system has.
const RAM_DISK: &str = "/dev/shm";
/// What a transfer may take beyond its time at the slowest rate.
const PATIENCE: Duration = Duration::from_secs(60);
/// No contender is slower than this, unless it was told to be.
const SLOWEST_BPS: u64 = 50_000_000;

/// Where the sender's super-packets become packets. UFTP sends packets, and is the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Segmentation {
    /// In the device, as in a network card that segments UDP: a veth passes the super-packet on whole. A veth's default.
    Device,
    /// In the sender's kernel: every packet crosses the veths and the bridge by itself, and the receiver's veth collects
    /// packets again, as a network card's driver does.
    Software,
}

/// One transfer of the image.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// From the start of the data until the receiver has the file; `None` when it never had.
    pub took: Option<Duration>,
    /// Length of the image.
    pub image_bytes: u64,
    /// Bits of the wire a second that the sender was told; `None`: as fast as it can.
    pub rate_bps: Option<u64>,
    /// The share of repair that the sender was told; `None`: it knows none.
    pub repair: Option<String>,
    /// Bits of the wire a second that it kept, by its own word.
    pub sent_bps: Option<f64>,
    /// Bytes of Ethernet frames without FCS that the sender sent.
    pub wire_bytes: u64,
    /// CPU time of the sender, from its start to its end.
    pub sender_cpu_s: f64,
    /// CPU time of the receiver, from its start to its end.
    pub receiver_cpu_s: f64,
    /// Packets that the receiving program lacked.
    pub lost: u64,
    /// Whether the receiver has the image, by its SHA-256 as the bench computes it.
    pub verified: bool,
}

impl Transfer {
    /// Goodput: bits of the image. 0 when it did not arrive.
    pub fn mbit_s(&self) -> f64 {
        let seconds = self.took.map_or(f64::INFINITY, |took| took.as_secs_f64());
        if self.verified { self.image_bytes as f64 * 8.0 / seconds / 1e6 } else { 0.0 }
    }

    /// Whether all went well without any loss.
    pub fn is_clean(&self) -> bool {
        self.verified && self.lost == 0
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let sent = self.sent_bps.map_or(String::new(), |sent_bps| format!(", sent at {:.0} Mbit/s", sent_bps / 1e6));
        format!(
            "{:.0} Mbit/s of image{sent}, sender {:.2} CPU s, receiver {:.2} CPU s, {} packets lost, {}",
            self.mbit_s(),
            self.sender_cpu_s,
            self.receiver_cpu_s,
            self.lost,
            if self.verified { "verified" } else { "NOT VERIFIED" }
        )
    }
}

/// The lab, and the image that is transferred in it.
pub struct Contest {
    fleet: Fleet,
    release: Release,
}

impl Contest {
    /// Builds the lab and makes an image of `image_bytes` pseudo-random bytes.
    pub fn new(image_bytes: u64, segmentation: Segmentation) -> anyhow::Result<Self> {
        interrupt::watch().context("cannot watch for signals")?;
        // Decides where the lab's scratch folder is; fails only when it was called before, with the same folder.
        let _ = tempfile::env::override_temp_dir(Path::new(RAM_DISK));
        eprintln!("building the lab: a sender, a bridge, one receiver; files are in {RAM_DISK}");
        let fleet = Fleet::new(Binaries::beside_this_program()?, Channel::SSM_V4, 1)?;
        match segmentation {
            Segmentation::Device => fleet.lab.wire().set_feature("tx-udp-segmentation", true)?,
            Segmentation::Software => let_receiver_aggregate(&fleet.lab)?,
        }
        let release = fleet.release(image_bytes, 1)?;
        Ok(Self { fleet, release })
    }

    /// The most time that a transfer at `rate_bps` may take.
    fn patience(&self, rate_bps: Option<u64>) -> Duration {
        let rate_bps = rate_bps.map_or(SLOWEST_BPS, |rate_bps| rate_bps.min(SLOWEST_BPS)).max(1);
        PATIENCE + Duration::from_secs(2 * (self.release.file_bytes * 8).div_ceil(rate_bps))
    }
}

/// Checks a share of repair, and leaves it as the sender takes it.
pub fn repair(text: &str) -> Result<String, UnitError> {
    parse_permyriad(text).map(|_| text.to_owned())
}

/// Makes the receiver's veth collect packets in NAPI and GRO, as a network card's driver does.
///
/// A veth does not when its other end offers TCP segmentation: it then takes all that comes for aggregated already.
fn let_receiver_aggregate(lab: &Lab) -> Result<(), LabError> {
    lab.bridge().namespace().link(&port(0)).set_feature("tso", false)
}

/// Lets two contenders transfer the image, `rounds` times each, in turn the one or the other first.
pub fn rounds(
    rounds: u32,
    mut fleetcast: impl FnMut() -> anyhow::Result<Transfer>,
    mut peer: impl FnMut() -> anyhow::Result<Transfer>,
) -> anyhow::Result<(Vec<Transfer>, Vec<Transfer>)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in 0..2 {
            let is_ours = (round + turn) % 2 == 0;
            let transfer = if is_ours { fleetcast()? } else { peer()? };
            let tool = if is_ours { "fleetcast" } else { Uftp::NAME };
            eprintln!("round {}: {tool}: {}", round + 1, transfer.summary());
            if is_ours { &mut ours } else { &mut theirs }.push(transfer);
        }
    }
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer() -> Transfer {
        Transfer {
            took: Some(Duration::from_secs(2)),
            image_bytes: 500_000_000,
            rate_bps: None,
            repair: None,
            sent_bps: None,
            wire_bytes: 0,
            sender_cpu_s: 0.0,
            receiver_cpu_s: 0.0,
            lost: 0,
            verified: true,
        }
    }

    #[test]
    fn goodput_counts_only_what_was_verified() {
        assert_eq!(transfer().mbit_s(), 2000.0);
        assert_eq!(Transfer { verified: false, ..transfer() }.mbit_s(), 0.0);
        assert_eq!(Transfer { took: None, ..transfer() }.mbit_s(), 0.0);
        assert!(transfer().is_clean() && !Transfer { lost: 1, ..transfer() }.is_clean());
    }

    #[test]
    fn the_contenders_take_turns_in_going_first() {
        let order = std::cell::RefCell::new(String::new());
        let note = |name: char| {
            order.borrow_mut().push(name);
            Ok(transfer())
        };
        let (ours, theirs) = rounds(3, || note('f'), || note('u')).expect("nothing fails");
        assert_eq!((ours.len(), theirs.len()), (3, 3));
        assert_eq!(order.into_inner(), "fuuffu");
    }
}
