//! The product's stream: `fleetcast-send` as an operator runs it, flat out.

use super::bare::frame_bytes;
use super::row::Measured;
use super::{GROUP, PORT};
use crate::contest::{cpu_s_now, cpu_s_when_ended};
use anyhow::{Context, ensure};
use fleetcast_sender::send::REPAIR_SETS;
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run;
use fleetcast_tests::image;
use fleetcast_tests::interrupt;
use fleetcast_tests::pair::{INTERFACE, Pair};
use fleetcast_tests::process::Process;
use fleetcast_tests::release::{HARDWARE, KeyPair, PRODUCT};
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::sink::Sink;
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A rate that nobody keeps: bursts leave as fast as they can.
const FLAT_OUT: &str = "1000G";
/// Passes of a resident carousel that fill its memory: each of them has repair symbols of its own.
const FILLING_PASSES: u32 = REPAIR_SETS;
/// Passes of a resident carousel in all.
const RESIDENT_PASSES: u32 = FILLING_PASSES + 12;
/// Longest that one run may take.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);
/// A RAM disk that every Linux system has: no disk decides.
const RAM_DISK: &str = "/dev/shm";

/// A sealed image.
pub struct Product {
    binaries: Binaries,
    image: PathBuf,
    scratch: Scratch,
}

impl Product {
    /// Makes and seals an image of `bytes` pseudo-random bytes.
    pub fn new(bytes: u64) -> anyhow::Result<Self> {
        // Decides where scratch folders are; fails only when it was called before, with the same folder.
        let _ = tempfile::env::override_temp_dir(Path::new(RAM_DISK));
        let binaries = Binaries::beside_this_program()?;
        let scratch = Scratch::new()?;
        let key = KeyPair::generate(&binaries, scratch.path(), "release")?;
        let image = scratch.join("firmware.bin");
        image::write_pseudo_random(&image, bytes, 1)?;
        let mut seal = Command::new(&binaries.send);
        seal.arg("seal").arg(&image).arg("--key").arg(&key.secret).args(["--product", PRODUCT]);
        run(seal.args(["--hardware", HARDWARE, "--version", "1", "--sequence", "1"]))?;
        Ok(Self { binaries, image, scratch })
    }

    /// Where a sender may listen for commands.
    pub fn control_path(&self) -> PathBuf {
        self.scratch.join("control")
    }

    /// Starts sending it in `pair`, with these arguments beside group, port and interface.
    pub fn spawn<'a>(&self, pair: &Pair, args: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Process> {
        let mut command = pair.sender().command(&self.binaries.send);
        command.arg("send").arg(&self.image).args(["--group", GROUP, "--port", &PORT.to_string()]);
        command.args(["--interface", INTERFACE, "--json"]).args(args);
        Ok(Process::spawn("the sender", command)?)
    }

    /// Sends flat out through a backend, and measures these passes, counted from 0.
    pub fn measure(
        &self,
        pair: &Pair,
        sink: &Sink,
        backend: &str,
        passes: Range<u32>,
        more: &[String],
    ) -> anyhow::Result<Measured> {
        self.measure_passes(pair, sink, &["--backend", backend], passes, more)
    }

    /// Sends flat out from memory: what comes after it is filled.
    pub fn measure_resident(&self, pair: &Pair, sink: &Sink, more: &[String]) -> anyhow::Result<Measured> {
        self.measure_passes(pair, sink, &["--resident"], FILLING_PASSES..RESIDENT_PASSES, more)
    }

    /// Sends `passes.end` passes, and measures from a tenth into the first of `passes` to the end of all.
    fn measure_passes(
        &self,
        pair: &Pair,
        sink: &Sink,
        how: &[&str],
        passes: Range<u32>,
        more: &[String],
    ) -> anyhow::Result<Measured> {
        let count = passes.end.to_string();
        let args = how.iter().copied().chain(["--rate", FLAT_OUT, "--passes", &count]);
        let mut sender = self.spawn(pair, args.chain(more.iter().map(String::as_str)))?;
        let started = sender.wait_event("started", PATIENCE)?;
        let pass = started.get("pass_packets").and_then(Value::as_u64).context("the sender tells its pass")?;
        let before_packets = pass * u64::from(passes.start);
        let deadline = Instant::now() + PATIENCE;
        // A little more than the passes: control packets come on top.
        while sink.totals()?.packets < before_packets + pass / 10 {
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "the first passes take longer than {} s", PATIENCE.as_secs());
            thread::sleep(POLL);
        }
        let (before, cpu_before) = (sink.totals()?, cpu_s_now(sender.pid())?);
        let cpu_s = cpu_s_when_ended(sender.pid(), PATIENCE)? - cpu_before;
        let sent = packets_of(sender)?;
        let after = sink.totals()?;
        let seconds = (after.last_ns - before.last_ns) as f64 / 1e9;
        let counted = after.packets - before.packets;
        // All that was sent must have been counted, also before.
        let lost = sent.saturating_sub(after.packets);
        Ok(Measured { lost, ..Measured::new(counted, counted, frame_bytes(), seconds, cpu_s) })
    }
}

/// What it says it has sent.
fn packets_of(sender: Process) -> anyhow::Result<u64> {
    let finished = sender.finish(PATIENCE)?;
    ensure!(finished.code() == Some(0), "the sender failed ({}): {}", finished.status, finished.stderr);
    let packets = finished.event("summary").and_then(|summary| summary.get("packets")).and_then(Value::as_u64);
    packets.context("the sender has told no packets")
}
