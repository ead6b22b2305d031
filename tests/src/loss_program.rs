//! The kernel side of [`crate::loss`]: an XDP program on a receiver's veth.

use std::fmt::Display;

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::LabError;
use crate::link::Link;
use crate::loss::Loss;

/// Compiled from `loss.bpf.c` by `scripts/bpf`.
const OBJECT: &[u8] = include_bytes_aligned!("loss.bpf.o");
const PROGRAM: &str = "lose";
const COUNTERS: &str = "counters";
const SEEN: u32 = 0;
const DROPPED: u32 = 1;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// A loaded program; it drops packets from [`LossProgram::attach`] until it is dropped itself.
#[derive(Debug)]
pub struct LossProgram {
    ebpf: Ebpf,
}

/// What a program has done to the datagrams to its port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossCounters {
    /// Datagrams that arrived at the veth.
    pub seen: u64,
    /// Of these, those that the receiver never got.
    pub dropped: u64,
}

impl LossCounters {
    /// The true loss, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 packets")]
    pub fn loss(&self) -> f64 {
        if self.seen == 0 { 0.0 } else { self.dropped as f64 / self.seen as f64 }
    }
}

impl LossProgram {
    /// Loads a program that loses UDP datagrams to `port`.
    ///
    /// # Errors
    /// When the kernel refuses it (not root, or no BPF).
    pub fn load(loss: &Loss, port: u16) -> Result<Self, LabError> {
        let mut ebpf = EbpfLoader::new()
            .override_global("receiver_key", &loss.key(), true)
            .override_global("drop_below", &loss.drop_below(), true)
            .override_global("stay_below", &loss.stay_below(), true)
            .override_global("udp_port", &port, true)
            .load(OBJECT)
            .map_err(failed("load"))?;
        program_mut(&mut ebpf, "load")?.load().map_err(failed("load"))?;
        Ok(Self { ebpf })
    }

    /// Attaches it natively to a veth. Generic XDP would see a super-packet as one frame.
    ///
    /// # Errors
    /// When the interface does not exist, or has an XDP program already.
    pub fn attach(&mut self, link: Link<'_>) -> Result<(), LabError> {
        let program = program_mut(&mut self.ebpf, "attach")?;
        let attached = link.namespace().enter(|| program.attach(link.name(), XdpMode::Driver))?;
        attached.map(drop).map_err(failed("attach"))
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn counters(&self) -> Result<LossCounters, LabError> {
        let map = self.ebpf.map(COUNTERS).ok_or_else(|| failed("read")("no counters in the object"))?;
        let counters = Array::<_, u64>::try_from(map).map_err(failed("read"))?;
        let get = |which| counters.get(&which, 0).map_err(failed("read"));
        Ok(LossCounters { seen: get(SEEN)?, dropped: get(DROPPED)? })
    }

    /// Runs it once on an Ethernet frame without any interface: is the frame dropped? Counts like a real packet.
    ///
    /// # Errors
    /// When the kernel cannot run it.
    pub fn test(&self, frame: &[u8]) -> Result<bool, LabError> {
        let program = self.ebpf.program(PROGRAM).ok_or_else(|| failed("run")("no program in the object"))?;
        let program: &Xdp = program.try_into().map_err(failed("run"))?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        match program.test_run(options).map_err(failed("run"))?.return_value {
            XDP_DROP => Ok(true),
            XDP_PASS => Ok(false),
            other => Err(failed("run")(format!("it returned {other}"))),
        }
    }
}

fn program_mut<'a>(ebpf: &'a mut Ebpf, what: &'static str) -> Result<&'a mut Xdp, LabError> {
    let program = ebpf.program_mut(PROGRAM).ok_or_else(|| failed(what)("no program in the object"))?;
    program.try_into().map_err(failed(what))
}

/// With the causes beneath: the kernel's reason is the innermost.
fn failed<E: Display>(what: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::LossProgram { what, reason: format!("{error:#}") }
}
