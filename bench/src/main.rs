//! `fleetcast-bench`: figures as ratios within one run, each against what it is compared with.
//!
//! Absolute figures swing by a third between runs of one binary on one host, so every bench interleaves its contenders and
//! prints their ratio. One file a bench; each prints a [`report::Report`].

mod codec;
mod contest;
mod cpu;
mod filter;
mod fleet;
mod goodput;
mod heap;
mod pacing;
mod paths;
mod report;
mod simulate;

use clap::{Parser, Subcommand};

/// The allocator of the process, so that a bench can say how much heap an operation takes.
#[global_allocator]
static ALLOCATOR: heap::CountingAllocator = heap::CountingAllocator::new();

/// Benches of fleetcast. Build with --release, and let nothing else run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Print one JSON object a row instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The codec against the bare crate raptorq: throughput and heap of encoding and decoding a block.
    Codec(codec::Options),
    /// fleetcast against UFTP, one receiver, unshaped: goodput, and the CPU time that it took.
    ///
    /// Needs root (for a lab of network namespaces), the Debian package uftp, and three times --bytes free in /dev/shm.
    Goodput(goodput::Options),
    /// fleetcast against UFTP, one receiver, at one rate: the CPU time of sender and receiver.
    ///
    /// Needs what goodput needs.
    Cpu(cpu::Options),
    /// Packet paths: each backend with the real stream, flat out, against bare loops, into a sink that counts.
    ///
    /// Needs root (for a lab of network namespaces), and the length of the image free in /dev/shm.
    Paths(paths::Options),
    /// Pacing: error of the rate, lateness, largest burst and CPU time at several rates.
    ///
    /// Needs what paths needs.
    Pacing(pacing::Options),
    /// A fleet on a live stream: the real sender, real receivers, and an emulator of thousands beside them.
    ///
    /// Needs root (for a lab of network namespaces), and the length of the image for each real receiver, and once more, free in
    /// /dev/shm.
    Fleet(fleet::Options),
    /// What a flood from a wrong source costs, by what keeps it away, while the real stream arrives.
    ///
    /// Needs root (for a lab of network namespaces) and the Debian package nftables.
    Filter(filter::Options),
    /// What the XDP filter's verdicts cost. Needs root.
    Verdict(filter::verdict::Options),
    /// A fleet of any size on a simulated clock, from a seed: bytes on the wire, feedback, and who is served when.
    Simulate(simulate::Options),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.bench {
        Bench::Codec(options) => codec::run(&options, arguments.json),
        Bench::Goodput(options) => goodput::run(&options, arguments.json),
        Bench::Cpu(options) => cpu::run(&options, arguments.json),
        Bench::Paths(options) => paths::run(&options, arguments.json),
        Bench::Pacing(options) => pacing::run(&options, arguments.json),
        Bench::Fleet(options) => fleet::run(&options, arguments.json),
        Bench::Filter(options) => filter::run(&options, arguments.json),
        Bench::Verdict(options) => filter::verdict::run(&options, arguments.json),
        Bench::Simulate(options) => simulate::run(&options, arguments.json),
    }
}
