//! Packet paths: how fast packets leave the host, by the backends with the real stream and by bare loops beside them.
//!
//! A sender and a sink share a cable (veth). The sink counts in the kernel: natively as XDP, where the sender's kernel has to
//! cut super-packets, or by a tc classifier, where super-packets cross the cable whole, as into a card that segments.
//!
//! Bare loops walk a buffer as large as the image, which no cache holds: `sendto` a packet a call, `bare-gso` a super-packet
//! a call, `bare-xdp` through AF_XDP's rings. The others are `fleetcast-send` itself, told a rate that nobody keeps: a mapped
//! image, FEC, headers, its workers on the same cores. They are measured from their second pass on: in the first one they also hash
//! every block (`--first-pass` measures that). `resident` is a carousel from memory, once that is filled. Times are the sink's.

mod bare;
mod product;
mod row;

use crate::report::Report;
use anyhow::{Context, ensure};
use bare::Bare;
use fleetcast_tests::interrupt;
use fleetcast_tests::pair::Pair;
use fleetcast_tests::sink::{Expected, Sink, SinkKind};
pub use product::Product;
use row::{Measured, PathRow};
use std::io;

/// UDP port of the packets.
pub const PORT: u16 = 5_000;
/// Group of the packets.
const GROUP: &str = "232.1.1.1";
/// UDP payload of the image's packets: a symbol of 1,344 bytes behind LCT header and FEC Payload ID.
const PACKET_BYTES: usize = 1_364;

/// What `paths` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of the image, and of the bare loops' buffers.
    #[arg(long, default_value_t = 512 << 20, value_parser = clap::value_parser!(u64).range((1 << 20)..))]
    bytes: u64,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Passes of the backends' stream that are measured, after a first one in which blocks are hashed too
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,
    /// Measure that first pass instead
    #[arg(long)]
    first_pass: bool,
    /// The sinks to measure against.
    #[arg(long, value_delimiter = ',', default_values_t = [Counter::Xdp, Counter::Tc])]
    sinks: Vec<Counter>,
    /// The paths to measure, by name. Ratios need sendto and the bare loops [default: all]
    #[arg(long, value_delimiter = ',', value_parser = Path::named)]
    paths: Vec<Path>,
    /// Arguments for `fleetcast-send` beside those of the bench.
    #[arg(last = true)]
    send: Vec<String>,
}

/// Where the sink counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counter {
    /// Natively as XDP: the sender's kernel cuts super-packets.
    Xdp,
    /// By a tc classifier: super-packets cross whole.
    Tc,
}

impl Counter {
    /// As the lab calls it.
    pub fn kind(self) -> SinkKind {
        match self {
            Self::Xdp => SinkKind::Xdp,
            Self::Tc => SinkKind::Tc,
        }
    }
}

impl std::fmt::Display for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        })
    }
}

/// A way to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Bare(Bare),
    Backend(&'static str),
    Resident,
}

impl Path {
    const ALL: [Self; 7] = [
        Self::Bare(Bare::Sendto),
        Self::Bare(Bare::Gso),
        Self::Bare(Bare::Xdp),
        Self::Backend("mmsg"),
        Self::Backend("uring"),
        Self::Backend("xdp"),
        Self::Resident,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bare(bare) => bare.name(),
            Self::Backend(name) => name,
            Self::Resident => "resident",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|path| path.name() == name).ok_or_else(|| format!("there are: {}", names()))
    }

    /// The bare loop that does what this path does.
    fn bare(self) -> &'static str {
        match self {
            Self::Bare(Bare::Xdp) | Self::Backend("xdp") => Bare::Xdp.name(),
            Self::Bare(_) | Self::Backend(_) | Self::Resident => Bare::Gso.name(),
        }
    }
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    interrupt::watch().context("cannot watch for signals")?;
    let product = Product::new(options.bytes)?;
    let buffer = vec![0x5a; usize::try_from(options.bytes)?];
    let mut report = Report::new(io::stdout().lock(), json);
    let mut lost = 0;
    let paths = if options.paths.is_empty() { &Path::ALL[..] } else { &options.paths };
    for &counter in &options.sinks {
        let rounds = measure(options, paths, counter, &product, &buffer)?;
        for path in paths {
            let row = PathRow::new(path.name(), path.bare(), counter, &rounds);
            lost += row.lost;
            report.row(&row)?;
        }
    }
    report.finish()?;
    ensure!(lost == 0, "{lost} packets were sent and not counted");
    Ok(())
}

/// All paths in turn, as often as there are rounds: for each round what each path did, by its name.
fn measure(
    options: &Options,
    paths: &[Path],
    counter: Counter,
    product: &Product,
    buffer: &[u8],
) -> anyhow::Result<Vec<Vec<(&'static str, Measured)>>> {
    let pair = Pair::new(1500, 1)?;
    let passes = if options.first_pass { 0..1 } else { 1..1 + options.passes };
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let mut measured = Vec::new();
        for &path in paths {
            interrupt::check()?;
            let sink = Sink::attach(counter.kind(), pair.sink_link(), PORT, &Expected::default())?;
            let it = match path {
                Path::Bare(bare) => bare.measure(&pair, &sink, buffer)?,
                Path::Backend(name) => product.measure(&pair, &sink, name, passes.clone(), &options.send)?,
                Path::Resident => product.measure_resident(&pair, &sink, &options.send)?,
            };
            eprintln!("round {round}, sink {counter}: {}: {it}", path.name());
            measured.push((path.name(), it));
        }
        rounds.push(measured);
    }
    Ok(rounds)
}
