//! Frames at a rate that no socket reaches: XDP's live frames (BPF_F_TEST_XDP_LIVE_FRAMES) are handed to a device by the
//! thousand, without a packet being built for each.

use anyhow::{Context, anyhow};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use fleetcast_tests::link::Link;
use fleetcast_tests::namespace::Namespace;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Compiled from `flood.bpf.c` by `scripts/bpf`.
const OBJECT: &[u8] = include_bytes_aligned!("flood.bpf.o");
/// Frames that the kernel is given at a time.
const FRAMES_A_RUN: u32 = 100_000;
/// Of these, those that it hands to the device together: what a driver takes from a card in one go.
const BATCH: u32 = 64;

/// One of the object's programs, loaded.
pub struct Tool {
    ebpf: Ebpf,
    name: &'static str,
}

/// What a flood took.
#[derive(Debug, Clone, Copy)]
pub struct Flooded {
    /// Frames sent.
    pub frames: u64,
    /// How long that took: the receiving side's work for each frame is done in between, on the same CPU.
    pub took: Duration,
}

impl Flooded {
    /// Nanoseconds a frame.
    pub fn ns_each(&self) -> f64 {
        self.took.as_nanos() as f64 / self.frames.max(1) as f64
    }
}

impl Tool {
    /// The program that sends live frames by an interface.
    pub fn flood(interface_index: u32) -> anyhow::Result<Self> {
        Self::load("flood", interface_index)
    }

    /// The program that drops all.
    pub fn drop_all() -> anyhow::Result<Self> {
        Self::load("drop_all", 0)
    }

    /// The program that does nothing.
    pub fn pass_all() -> anyhow::Result<Self> {
        Self::load("pass_all", 0)
    }

    fn load(name: &'static str, interface_index: u32) -> anyhow::Result<Self> {
        let mut ebpf = EbpfLoader::new().override_global("interface_index", &interface_index, true).load(OBJECT)?;
        let program: &mut Xdp = ebpf.program_mut(name).ok_or_else(|| anyhow!("no {name}"))?.try_into()?;
        program.load().with_context(|| format!("cannot load {name}"))?;
        Ok(Self { ebpf, name })
    }

    fn program(&self) -> anyhow::Result<&Xdp> {
        Ok(self.ebpf.program(self.name).ok_or_else(|| anyhow!("no {}", self.name))?.try_into()?)
    }

    /// Attaches it natively, until it is dropped.
    pub fn attach(&mut self, link: Link<'_>) -> anyhow::Result<()> {
        let program: &mut Xdp =
            self.ebpf.program_mut(self.name).ok_or_else(|| anyhow!("no {}", self.name))?.try_into()?;
        let attached = link.namespace().enter(|| program.attach(link.name(), XdpMode::Driver))?;
        attached.map(drop).with_context(|| format!("cannot attach to {}", link.name()))
    }

    /// Mean time of a run on a frame, without any interface.
    pub fn run(&self, frame: &[u8], repeat: u32) -> anyhow::Result<Duration> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(self.program()?.test_run(options)?.duration)
    }

    /// Sends a frame again and again from a namespace, on the last CPU, until `stop`.
    pub fn send_until(&self, stop: &AtomicBool, from: &Namespace, frame: &[u8]) -> anyhow::Result<Flooded> {
        let program = self.program()?;
        let sent = from.enter(|| -> anyhow::Result<Flooded> {
            let mut cpus = CpuSet::new();
            cpus.set(std::thread::available_parallelism()?.get() - 1);
            sched_setaffinity(None, &cpus)?;
            let (start, mut frames) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
                let options =
                    TestRunOptions { data_in: Some(frame), repeat: FRAMES_A_RUN, attrs, ..TestRunOptions::new() };
                program.test_run(options).context("this kernel sends no live frames (5.18 does)")?;
                frames += u64::from(FRAMES_A_RUN);
            }
            Ok(Flooded { frames, took: start.elapsed() })
        });
        sent?
    }
}
