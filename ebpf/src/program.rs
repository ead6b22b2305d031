//! The program in the kernel: loaded, and not on any interface yet.

use crate::channel::Channel;
use crate::counters::Counters;
use crate::error::{FilterError, failed};
use crate::maps::{Lease, Maps};
use crate::sample::Sample;
use aya::maps::{MapData, RingBuf};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use std::time::Duration;

/// Compiled from `filter.bpf.c` by `scripts/bpf`, and committed.
pub const OBJECT: &[u8] = include_bytes_aligned!("filter.bpf.o");
/// Its name, which the kernel shows on interfaces.
pub const NAME: &str = "fleetcast_xdp";
/// To load it.
const NEEDS: &str = "CAP_BPF CAP_NET_ADMIN";
/// Of each reason's drops on a CPU the first is kept for the log, and then one in so many.
const SAMPLE_EVERY: u32 = 4096;
const XDP_PASS: u32 = 2;

/// What a run of the program came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Whether the packet passes.
    pub passes: bool,
    /// Mean time of a run, as the kernel measured it.
    pub each: Duration,
}

/// The loaded program.
pub struct Program {
    ebpf: Ebpf,
    pub(crate) maps: Maps,
    samples: RingBuf<MapData>,
}

impl Program {
    /// Has the kernel check and take it.
    ///
    /// # Errors
    /// When this process may not (CAP_BPF and CAP_NET_ADMIN), or the kernel is too old (5.8 has all that is used).
    pub fn load() -> Result<Self, FilterError> {
        let what = "load the XDP filter";
        let mut ebpf = EbpfLoader::new()
            .override_global("sample_mask", &(SAMPLE_EVERY - 1), true)
            .load(OBJECT)
            .map_err(failed(what, NEEDS))?;
        let maps = Maps::collect(|shape| ebpf.take_map(shape.name).ok_or_else(|| lacks(shape.name)))?;
        let samples = ebpf.take_map("samples").ok_or_else(|| lacks("samples"))?;
        let samples = RingBuf::try_from(samples).map_err(failed(what, NEEDS))?;
        let mut program = Self { ebpf, maps, samples };
        program.xdp_mut()?.load().map_err(failed(what, NEEDS))?;
        Ok(program)
    }

    /// The kernel's number of it.
    pub(crate) fn id(&self) -> Result<u32, FilterError> {
        let info = self.xdp()?.info().map_err(failed("ask for the filter's number", NEEDS))?;
        Ok(info.id())
    }

    /// Lets a channel in, and shuts its group and port to others; `exclusive` shuts the group's other ports too.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn guard(&mut self, channel: Channel, exclusive: bool) -> Result<(), FilterError> {
        self.maps.guard(channel, Lease::Owner, exclusive)
    }

    /// Stops guarding a channel.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn unguard(&mut self, channel: Channel) -> Result<(), FilterError> {
        self.maps.unguard(channel)
    }

    /// What it has counted.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn counters(&self) -> Result<Counters, FilterError> {
        self.maps.counters()
    }

    /// Runs it on an Ethernet frame `repeat` times, without any interface. It counts like a real packet each time.
    ///
    /// # Errors
    /// When the kernel cannot: a frame is at least 14 bytes long and at most about a page.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Run, FilterError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.xdp()?.test_run(options).map_err(failed::<ProgramError>("run the filter", NEEDS))?;
        Ok(Run { passes: result.return_value == XDP_PASS, each: result.duration })
    }

    /// Drops that were kept for the log since the last call, at most `most`.
    pub fn samples(&mut self, most: usize) -> Vec<Sample> {
        let mut samples = Vec::new();
        while samples.len() < most {
            let Some(item) = self.samples.next() else { break };
            samples.extend(Sample::read(&item));
        }
        samples
    }

    fn xdp(&self) -> Result<&Xdp, FilterError> {
        let program = self.ebpf.program(NAME).ok_or_else(|| lacks(NAME))?;
        program.try_into().map_err(failed::<ProgramError>("find the program", NEEDS))
    }

    pub(crate) fn xdp_mut(&mut self) -> Result<&mut Xdp, FilterError> {
        let program = self.ebpf.program_mut(NAME).ok_or_else(|| lacks(NAME))?;
        program.try_into().map_err(failed::<ProgramError>("find the program", NEEDS))
    }
}

fn lacks(name: &str) -> FilterError {
    FilterError::Kernel { what: "load the XDP filter", reason: format!("its object has no '{name}'") }
}
