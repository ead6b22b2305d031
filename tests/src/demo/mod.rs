//! The demo: a real image to a fleet of receivers that each lose some packets, and an honest table of what came of it.
//!
//! Nothing in the report is taken on trust where the lab can see it itself: the loss is what the loss programs counted,
//! the wire bytes are the interface's, and each receiver's file is hashed by the lab.

mod report;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::binaries::Binaries;
use crate::fleet::{Channel, Fleet};
use crate::loss::Loss;
use crate::loss_program::LossProgram;
use crate::process::{Finished, Process};
use crate::release::Release;
use crate::{LabError, image, interrupt};
use report::Seen;

pub use report::{DemoReport, ReceiverReport, SenderReport};

/// Receivers give up after this long without any packet.
const IDLE_TIMEOUT: &str = "20s";
/// A receiver that gave up still writes its summary.
const AFTERMATH: Duration = Duration::from_secs(60);

/// Where the image comes from.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// Kernel and initial RAM disk of Debian's installer.
    DebianInstaller,
    /// A file; it is copied, because the manifest is written beside it.
    File(PathBuf),
    /// So many pseudo-random bytes.
    PseudoRandom(u64),
}

/// What to run.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    /// The programs.
    pub binaries: Binaries,
    /// How many receivers.
    pub receivers: usize,
    /// Where to send.
    pub channel: Channel,
    /// As `--rate` of the sender takes it, for example `100M`.
    pub rate: String,
    /// As `--repair` of the sender takes it, for example `5%`.
    pub repair: String,
    /// The first receiver's loss to the last receiver's, in packets of a million.
    pub loss_ppm: RangeInclusive<u32>,
    /// Decides which packets are lost, and the content of a pseudo-random image.
    pub seed: u64,
    /// The image.
    pub image: ImageSource,
    /// Further arguments for the sender, such as a profile.
    pub send_args: Vec<String>,
    /// Further arguments for the receivers.
    pub receive_args: Vec<String>,
}

impl DemoConfig {
    /// What `scripts/demo` shows: 8 receivers with 1 to 2 % loss, 100 Mbit/s, 5 % repair, Debian's installer.
    pub fn new(binaries: Binaries) -> Self {
        Self {
            binaries,
            receivers: 8,
            channel: Channel::SSM_V4,
            rate: "100M".into(),
            repair: "5%".into(),
            loss_ppm: 10_000..=20_000,
            seed: 1,
            image: ImageSource::DebianInstaller,
            send_args: Vec::new(),
            receive_args: Vec::new(),
        }
    }

    /// The loss of one receiver: evenly spread over the range.
    fn loss_ppm_of(&self, index: usize) -> u32 {
        let (first, last) = (f64::from(*self.loss_ppm.start()), f64::from(*self.loss_ppm.end()));
        let steps = self.receivers.saturating_sub(1).max(1);
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let share = index as f64 / steps as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two u32")]
        let loss_ppm = (first + (last - first) * share).round() as u32;
        loss_ppm
    }
}

/// Builds the lab, sends, and reports. `say` is told what is going on, a line a stage.
///
/// # Errors
/// When the lab or a program cannot be started, or on an interrupt. A receiver without the image is no error but told in
/// the report.
pub fn run(config: &DemoConfig, mut say: impl FnMut(&str)) -> Result<DemoReport, LabError> {
    say(&format!("building the lab: a sender, a bridge with IGMP snooping, {} receivers", config.receivers));
    let mut fleet = Fleet::new(config.binaries.clone(), config.channel, config.receivers)?;
    let losses = (0..config.receivers).map(|index| Loss::of_receiver(config.seed, index, config.loss_ppm_of(index)));
    fleet.lab.set_losses(config.channel.port, &losses.collect::<Vec<_>>())?;
    say("sealing the image");
    let release = sealed(config, &fleet)?;
    let mut receivers = start_receivers(config, &fleet)?;
    fleet.await_joined(&mut receivers)?;
    say(&format!("all have joined; sending {} bytes at {}, {} repair", release.file_bytes, config.rate, config.repair));
    let start = Instant::now();
    let sender = send(config, &fleet, &release)?;
    say("sent; waiting for the receivers");
    let mut reports = Vec::with_capacity(receivers.len());
    for (index, receiver) in receivers.into_iter().enumerate() {
        let finished = receiver.finish(AFTERMATH)?;
        let counters = fleet.lab.losses().get(index).map(LossProgram::counters).transpose()?.unwrap_or_default();
        let seen = Seen { start, loss: counters.loss(), sha256: image::sha256(&fleet.device(index).out).ok() };
        reports.push(ReceiverReport::new(index, seen, &finished, &release));
    }
    Ok(DemoReport { sha256: release.sha256, receivers: reports, sender })
}

fn sealed(config: &DemoConfig, fleet: &Fleet) -> Result<Release, LabError> {
    let image = fleet.scratch.join("firmware.bin");
    match &config.image {
        ImageSource::DebianInstaller => image::write_debian_installer(&image)?,
        ImageSource::PseudoRandom(len) => image::write_pseudo_random(&image, *len, config.seed)?,
        ImageSource::File(file) => {
            std::fs::copy(file, &image).map_err(LabError::io(format!("copy the image {}", file.display())))?;
        }
    }
    Release::seal(&fleet.binaries, image, &fleet.key, 1)
}

fn start_receivers(config: &DemoConfig, fleet: &Fleet) -> Result<Vec<Process>, LabError> {
    let invocations = (0..config.receivers).map(|index| fleet.receiver(index));
    let once = ["--once", "--timeout", IDLE_TIMEOUT];
    invocations.map(|receiver| receiver.args(once).args(&config.receive_args).spawn()).collect()
}

fn send(config: &DemoConfig, fleet: &Fleet, release: &Release) -> Result<SenderReport, LabError> {
    let before = fleet.lab.wire().counters()?;
    let sender = fleet.sender(release).args(["--rate", &config.rate, "--repair", &config.repair]);
    let finished = sender.args(&config.send_args).spawn()?.finish(patience(&config.rate, release.file_bytes))?;
    // Ctrl-C reaches the whole foreground: that the sender ended is then no news.
    interrupt::check()?;
    if !finished.status.success() {
        return Err(LabError::Ended {
            program: "the sender".into(),
            status: finished.status.to_string(),
            awaited: "the end of the session".into(),
            stderr: finished.stderr,
        });
    }
    let after = fleet.lab.wire().counters()?;
    Ok(SenderReport::new(after.tx_bytes - before.tx_bytes, release.file_bytes, &finished))
}

/// How long a send may take: twice its time on the wire, and a minute. A rate that cannot be read here is refused by the
/// sender at once.
fn patience(rate: &str, file_bytes: u64) -> Duration {
    let (number, scale) = match rate.trim_end_matches(|c: char| c.is_ascii_alphabetic()) {
        number if rate.contains(['k', 'K']) => (number, 1_000),
        number if rate.contains('M') => (number, 1_000_000),
        number if rate.contains('G') => (number, 1_000_000_000),
        number => (number, 1),
    };
    let rate_bps = number.parse::<f64>().unwrap_or(0.0) * f64::from(scale);
    #[expect(clippy::cast_precision_loss, reason = "a rough bound")]
    let wire_s = file_bytes as f64 * 8.0 / rate_bps.max(1_000.0);
    Duration::from_secs_f64(2.0 * wire_s) + AFTERMATH
}

/// The number in an event, or nothing.
fn number(finished: &Finished, event: &str, field: &str) -> Option<f64> {
    finished.event(event).and_then(|event| event.get(field)).and_then(Value::as_f64)
}

/// The whole number in an event, or nothing.
fn count(finished: &Finished, event: &str, field: &str) -> Option<u64> {
    finished.event(event).and_then(|event| event.get(field)).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_spread_over_the_range() {
        let nowhere = Binaries { send: PathBuf::new(), recv: PathBuf::new() };
        let config = DemoConfig::new(nowhere);
        let losses: Vec<_> = (0..8).map(|index| config.loss_ppm_of(index)).collect();
        assert_eq!(losses, [10_000, 11_429, 12_857, 14_286, 15_714, 17_143, 18_571, 20_000]);
        assert_eq!(DemoConfig { receivers: 1, ..config }.loss_ppm_of(0), 10_000);
    }

    #[test]
    fn patience_follows_the_rate() {
        assert_eq!(patience("100M", 50_000_000), Duration::from_secs(68));
        assert_eq!(patience("1G", 50_000_000), Duration::from_millis(60_800));
        assert!(patience("nonsense", 1_000) < Duration::from_secs(100));
    }
}
