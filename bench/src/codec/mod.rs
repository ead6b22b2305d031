//! The codec against the bare crate `raptorq`: throughput and heap, a block at a time, on one thread.
//!
//! The crate is given its best: a cached plan, and for decoding one call with packets that were built beforehand. In
//! each round both contenders run, in turn the one or the other first, and every output is compared byte by byte.
//!
//! The crate allocates whole blocks in every call. glibc gives such memory back to the kernel or not by the luck of the
//! heap's layout, and faulting it in again costs up to a quarter of a decode. So the bench starts itself again with
//! tunables that keep it.

mod block;
mod bounds;
mod row;
mod times;

use crate::report::{Report, Row};
use anyhow::Context;
use block::Block;
use bounds::Bounds;
use fleetcast_fec::{BlockShape, Codec, Kernels};
use raptorq::SourceBlockEncodingPlan;
use row::PlanRow;
use std::env;
use std::hint::black_box;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use times::Times;

/// Glibc's knobs, and what makes it keep freed memory.
const TUNABLES: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000000000:glibc.malloc.mmap_threshold=1000000000");

/// What `codec` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Bytes of a symbol: a multiple of 8; several with commas.
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "1408,1344")]
    symbol_size: Vec<u16>,
    /// Source symbols of a block (K), several with commas.
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1000,2000,4000")]
    source_symbols: Vec<u32>,
    /// Repair symbols to encode, in percent of K.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repair: u32,
    /// Source symbols lost before decoding, in percent of K, several with commas. The first is also decoded without SIMD.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "2,5,10,30",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    loss: Vec<u32>,
    /// Values of K whose encoding plans are timed, several with commas; those of --source-symbols when it is not given.
    #[arg(long, value_name = "K", value_delimiter = ',')]
    plans: Vec<u32>,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    if env::var_os(TUNABLES.0).is_none() {
        let again = Command::new(env::current_exe()?).args(env::args_os().skip(1)).env(TUNABLES.0, TUNABLES.1).exec();
        return Err(again).context("cannot start the bench again with glibc's tunables");
    }
    let largest = options.source_symbols.iter().zip(options.symbol_size.iter().cycle()).map(|(&k, &t)| (k, t)).max();
    let (k, symbol_size) = largest.context("no K given")?;
    let bounds = Bounds::measure(BlockShape::new(k, symbol_size)?.len())?;
    print(json, bounds.rows().map(Ok))?;
    let plans = if options.plans.is_empty() { &options.source_symbols } else { &options.plans };
    print(json, plans.iter().map(|&k| plan_row(k, options.rounds)))?;

    let mut report = Report::new(io::stdout().lock(), json);
    for &symbol_size in &options.symbol_size {
        for &k in &options.source_symbols {
            let shape = BlockShape::new(k, symbol_size)?;
            let block = Block::new(shape, symbol_size, bounds, Kernels::detect())?;
            report.row(&block.encode(options.repair, options.rounds)?)?;
            for &loss in &options.loss {
                report.row(&block.decode(loss, options.rounds)?)?;
            }
            if let Some(&loss) = options.loss.first() {
                let block = Block::new(shape, symbol_size, bounds, Kernels::scalar())?;
                report.row(&block.decode(loss, options.rounds)?)?;
            }
        }
    }
    Ok(report.finish()?)
}

fn print<R: Row>(json: bool, rows: impl IntoIterator<Item = anyhow::Result<R>>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut report = Report::new(&mut out, json);
    for row in rows {
        report.row(&row?)?;
    }
    report.finish()?;
    if !json {
        io::Write::write_all(&mut out, b"\n")?;
    }
    Ok(())
}

/// Times the encoding plans of both contenders.
fn plan_row(k: u32, rounds: u32) -> anyhow::Result<PlanRow> {
    // Nothing of a plan depends on T.
    let shape = BlockShape::new(k, 8)?;
    let k_of_crate = u16::try_from(k)?;
    let plan = Codec::new().prepare(shape);
    let mut times = Times::default();
    // The largest take seconds.
    let rounds = if k > 10_000 { rounds.min(3) } else { rounds };
    for round in 0..rounds {
        times.round(
            round,
            || {
                black_box(Codec::new().prepare(shape));
                Ok(())
            },
            || {
                black_box(SourceBlockEncodingPlan::generate(k_of_crate));
                Ok(())
            },
        )?;
    }
    Ok(PlanRow {
        bench: "codec",
        op: "plan",
        k,
        ours_ms: times::median_s(&times.ours) * 1e3,
        crate_ms: times::median_s(&times.bare_crate) * 1e3,
        heap_bytes: plan.heap_len,
        additions_per_symbol: plan.additions as f64 / f64::from(k),
    })
}
