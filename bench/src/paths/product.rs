//! The product's stream: `fleetcast-send` as an operator runs it, flat out.

use super::bare::frame_bytes;
use super::row::Measured;
use super::{GROUP, PORT};
use crate::contest::{cpu_s_now, cpu_s_when_ended};
use anyhow::{Context, ensure};
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
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A rate that nobody keeps: bursts leave as fast as they can.
const FLAT_OUT: &str = "1000G";
/// Passes of a resident carousel; the first one fills the memory.
const RESIDENT_PASSES: u32 = 5;
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

    /// Sends all passes flat out through a backend.
    pub fn measure(
        &self,
        pair: &Pair,
        sink: &Sink,
        backend: &str,
        passes: u32,
        more: &[String],
    ) -> anyhow::Result<Measured> {
        let passes = passes.to_string();
        let args = ["--backend", backend, "--rate", FLAT_OUT, "--passes", &passes];
        let sender = self.spawn(pair, args.into_iter().chain(more.iter().map(String::as_str)))?;
        let cpu_s = cpu_s_when_ended(sender.pid(), PATIENCE)?;
        let sent = packets_of(sender)?;
        Ok(Measured::of_all(sent, &sink.totals()?, frame_bytes(), cpu_s))
    }

    /// Sends flat out from memory: what comes after the first pass.
    pub fn measure_resident(&self, pair: &Pair, sink: &Sink, more: &[String]) -> anyhow::Result<Measured> {
        let passes = RESIDENT_PASSES.to_string();
        let args = ["--resident", "--rate", FLAT_OUT, "--passes", &passes];
        let mut sender = self.spawn(pair, args.into_iter().chain(more.iter().map(String::as_str)))?;
        let started = sender.wait_event("started", PATIENCE)?;
        let first_pass = started.get("pass_packets").and_then(Value::as_u64).context("the sender tells its pass")?;
        let deadline = Instant::now() + PATIENCE;
        // A little more than a pass: control packets come on top.
        while sink.totals()?.packets < first_pass + first_pass / 10 {
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "the first pass takes longer than {} s", PATIENCE.as_secs());
            thread::sleep(POLL);
        }
        let (before, cpu_before) = (sink.totals()?, cpu_s_now(sender.pid())?);
        let cpu_s = cpu_s_when_ended(sender.pid(), PATIENCE)? - cpu_before;
        let sent = packets_of(sender)?;
        let after = sink.totals()?;
        let seconds = (after.last_ns - before.last_ns) as f64 / 1e9;
        let counted = after.packets - before.packets;
        Ok(Measured::new(sent - before.packets, counted, frame_bytes(), seconds, cpu_s))
    }
}

/// What it says it has sent.
fn packets_of(sender: Process) -> anyhow::Result<u64> {
    let finished = sender.finish(PATIENCE)?;
    ensure!(finished.code() == Some(0), "the sender failed ({}): {}", finished.status, finished.stderr);
    let packets = finished.event("summary").and_then(|summary| summary.get("packets")).and_then(Value::as_u64);
    packets.context("the sender has told no packets")
}
