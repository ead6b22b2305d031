//! A sink that counts packets in the kernel, so that a bench measures the sender and not a receiver.

use std::fmt::Display;

use aya::maps::Array;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod, include_bytes_aligned};

use crate::LabError;
use crate::link::Link;

/// Compiled from `sink.bpf.c` by `scripts/bpf`.
const OBJECT: &[u8] = include_bytes_aligned!("sink.bpf.o");
const TOTALS: &str = "totals";

/// Where packets are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkKind {
    /// Natively at the device: every packet by itself. The kernel of a sender whose peer does this cuts super-packets.
    Xdp,
    /// By a tc classifier: a super-packet crosses the cable whole, as into a network card that segments.
    Tc,
}

/// How bursts are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Bits of the wire a second that are expected; 0 where bursts are of no interest.
    pub rate_bps: u64,
    /// Nanoseconds after the first packet before which nothing is measured.
    pub warm_up_ns: u64,
    /// Nanoseconds of silence that end a burst.
    pub gap_ns: u64,
}

/// What was counted: `struct totals` of `sink.bpf.c`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Bytes of Ethernet frames without FCS.
    pub bytes: u64,
    /// When the first packet came, in nanoseconds.
    pub first_ns: u64,
    /// When the last one came.
    pub last_ns: u64,
    base_ns: u64,
    base_bits: u64,
    burst_ns: u64,
    burst_bits: u64,
    bits: u64,
    level_ns: u64,
    /// Most line time that came earlier than the rate allows: the largest burst.
    pub burst_max_ns: u64,
}

// SAFETY: eleven numbers of 64 bits, without padding.
unsafe impl Pod for Totals {}

impl Totals {
    /// Seconds from the first packet to the last.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ns")]
    pub fn seconds(&self) -> f64 {
        (self.last_ns - self.first_ns) as f64 / 1e9
    }

    /// Bits of the wire and the seconds they took, from the start of the first burst after the warm-up to the start of the
    /// last.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ns and bits")]
    pub fn bits_and_seconds(&self) -> Option<(f64, f64)> {
        let ns = self.burst_ns.checked_sub(self.base_ns).filter(|&ns| ns > 0)?;
        Some(((self.burst_bits - self.base_bits) as f64, ns as f64 / 1e9))
    }
}

/// A running sink. It ends on drop.
#[derive(Debug)]
pub struct Sink {
    ebpf: Ebpf,
}

impl Sink {
    /// Counts the UDP datagrams over IPv4 to `port` that arrive at a link, and drops them.
    ///
    /// # Errors
    /// When the program cannot be loaded or attached.
    pub fn attach(kind: SinkKind, link: Link<'_>, port: u16, expected: &Expected) -> Result<Self, LabError> {
        let mut ebpf = EbpfLoader::new()
            .override_global("udp_port", &port, true)
            .override_global("rate_bps", &expected.rate_bps, true)
            .override_global("warm_up_ns", &expected.warm_up_ns, true)
            .override_global("gap_ns", &expected.gap_ns, true)
            .load(OBJECT)
            .map_err(failed("load"))?;
        let name = match kind {
            SinkKind::Xdp => "count_xdp",
            SinkKind::Tc => "count_tc",
        };
        let program = ebpf.program_mut(name).ok_or_else(|| failed("find")("it is not in its object"))?;
        match kind {
            SinkKind::Xdp => {
                let program: &mut Xdp = program.try_into().map_err(failed("load"))?;
                program.load().map_err(failed("load"))?;
                let attached = link.namespace().enter(|| program.attach(link.name(), XdpMode::Driver))?;
                attached.map_err(failed("attach"))?;
            }
            SinkKind::Tc => {
                let program: &mut SchedClassifier = program.try_into().map_err(failed("load"))?;
                program.load().map_err(failed("load"))?;
                let attached = link.namespace().enter(|| program.attach(link.name(), TcAttachType::Ingress))?;
                attached.map_err(failed("attach"))?;
            }
        }
        Ok(Self { ebpf })
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn totals(&self) -> Result<Totals, LabError> {
        let map = self.ebpf.map(TOTALS).ok_or_else(|| failed("read")("no totals in the object"))?;
        let totals = Array::<_, Totals>::try_from(map).map_err(failed("read"))?;
        totals.get(&0, 0).map_err(failed("read"))
    }
}

/// With the causes beneath: the kernel's reason is the innermost.
fn failed<E: Display>(what: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::Unfit(format!("cannot {what} the sink's program: {error:#}"))
}
