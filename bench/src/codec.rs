//! The codec against the bare crate `raptorq`: throughput and heap, a block at a time, on one thread.
//!
//! The crate is given its best: a cached plan, and for decoding one call with packets that were built beforehand. In
//! each round both contenders run, in turn the one or the other first, and every output is compared byte by byte.
//!
//! The crate allocates whole blocks in every call. glibc gives such memory back to the kernel or not by the luck of the
//! heap's layout, and faulting it in again costs up to a quarter of a decode. For steady ratios keep it:
//! `GLIBC_TUNABLES=glibc.malloc.trim_threshold=1000000000:glibc.malloc.mmap_threshold=1000000000`.

use crate::ALLOCATOR;
use crate::report::{Report, Row};
use anyhow::{Context, bail, ensure};
use fleetcast_fec::{BlockShape, Codec, Parked, RepairRow, SymbolSet};
use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder,
    SourceBlockEncodingPlan,
};
use serde::Serialize;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

/// Symbols received beyond K: enough that no set was ever seen to fail.
const SPARE_SYMBOLS: u32 = 2;

/// What `codec` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Bytes of a symbol: a multiple of 8.
    #[arg(long, value_name = "BYTES", default_value_t = 1344)]
    symbol_size: u16,
    /// Source symbols of a block (K), several with commas.
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1000,2000,4000")]
    source_symbols: Vec<u32>,
    /// Repair symbols to encode, in percent of K.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repair: u32,
    /// Source symbols lost before decoding, in percent of K, several with commas.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "0,2,5,10",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    loss: Vec<u32>,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// One operation at one K.
#[derive(Debug, Serialize)]
struct CodecRow {
    bench: &'static str,
    operation: &'static str,
    source_symbols: u32,
    symbol_size: usize,
    /// Repair symbols computed, or source symbols lost, in percent of K.
    percent: u32,
    rounds: u32,
    /// Median of 10^6 source bytes a second.
    ours_mb_s: f64,
    crate_mb_s: f64,
    ratio: f64,
    /// Peak heap in blocks of K·T bytes. Decoding: with the symbols received. Encoding: without the source and the plan.
    ours_heap_blocks: f64,
    crate_heap_blocks: f64,
}

impl Row for CodecRow {
    const COLUMNS: &'static [&'static str] =
        &["operation", "K", "T", "MB/s", "crate MB/s", "ratio", "heap/block", "crate heap/block"];

    fn cells(&self) -> Vec<String> {
        let what = if self.operation == "encode" { "repair" } else { "loss" };
        vec![
            format!("{} {} % {what}", self.operation, self.percent),
            self.source_symbols.to_string(),
            self.symbol_size.to_string(),
            figure(self.ours_mb_s, 0, 100_000.0),
            figure(self.crate_mb_s, 0, 100_000.0),
            figure(self.ratio, 2, 100.0),
            format!("{:.2}", self.ours_heap_blocks),
            format!("{:.2}", self.crate_heap_blocks),
        ]
    }
}

/// A number, capped where it only says that there was nothing to do.
fn figure(number: f64, decimals: usize, cap: f64) -> String {
    if number > cap { format!(">{cap:.0}") } else { format!("{number:.decimals$}") }
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let mut report = Report::new(io::stdout().lock(), json);
    for &k in &options.source_symbols {
        let shape = BlockShape::new(k, options.symbol_size)?;
        let block = Block::new(shape, options.symbol_size)?;
        report.row(&block.encode(options)?)?;
        for &loss in &options.loss {
            report.row(&block.decode(options, loss)?)?;
        }
    }
    Ok(report.finish()?)
}

/// A source block and what either contender caches for it.
struct Block {
    shape: BlockShape,
    source: Vec<u8>,
    codec: Codec,
    oti: ObjectTransmissionInformation,
    plan: SourceBlockEncodingPlan,
}

impl Block {
    fn new(shape: BlockShape, symbol_size: u16) -> anyhow::Result<Self> {
        let mut noise = Noise(u64::from(shape.k()));
        let source = std::iter::repeat_with(|| noise.next().to_le_bytes()).flatten().take(shape.len()).collect();
        let oti = ObjectTransmissionInformation::new(u64::try_from(shape.len())?, symbol_size, 1, 1, 8);
        let plan = SourceBlockEncodingPlan::generate(u16::try_from(shape.k())?);
        Ok(Self { shape, source, codec: Codec::new(), oti, plan })
    }

    /// Computes the repair symbols from ESI K on, one after the other, into `out`.
    fn encode_ours(&self, out: &mut [u8]) -> anyhow::Result<()> {
        let mut rows: Vec<RepairRow<'_>> = (self.shape.k()..)
            .zip(out.chunks_exact_mut(self.shape.symbol_size()))
            .map(|(esi, out)| RepairRow { esi, out })
            .collect();
        Ok(self.codec.encode(self.shape, &self.source, &mut rows)?)
    }

    fn encode_crate(&self, count: u32) -> Vec<EncodingPacket> {
        SourceBlockEncoder::with_encoding_plan(0, &self.oti, &self.source, &self.plan).repair_packets(0, count)
    }

    fn encode(&self, options: &Options) -> anyhow::Result<CodecRow> {
        let count = percent_of(self.shape.k(), options.repair);
        let mut out = vec![0; count as usize * self.shape.symbol_size()];
        // The first call makes the plan.
        self.encode_ours(&mut out)?;
        let (result, ours_heap) = ALLOCATOR.peak_of(|| self.encode_ours(&mut out));
        result?;
        let (packets, crate_heap) = ALLOCATOR.peak_of(|| self.encode_crate(count));
        drop(packets);

        let mut times = Times::default();
        for round in 0..options.rounds {
            out.fill(0);
            let mut packets = Vec::new();
            times.round(
                round,
                || self.encode_ours(&mut out),
                || {
                    packets = self.encode_crate(count);
                    Ok(())
                },
            )?;
            let expected = packets.iter().flat_map(|packet| packet.data());
            ensure!(out.iter().eq(expected), "the repair symbols differ from the crate's at K = {}", self.shape.k());
        }
        Ok(self.summary("encode", options.repair, &times, (ours_heap, crate_heap)))
    }

    fn decode(&self, options: &Options, loss: u32) -> anyhow::Result<CodecRow> {
        let reception = Reception::new(self, loss)?;
        let (result, ours_heap) = ALLOCATOR.peak_of(|| {
            let mut buffer = reception.buffer.clone();
            self.decode_ours(&mut buffer, &reception)
        });
        result?;
        let (result, crate_heap) = ALLOCATOR.peak_of(|| self.decode_crate(reception.packets(self.shape)));
        result?;

        let mut times = Times::default();
        let mut buffer = reception.buffer.clone();
        for round in 0..options.rounds {
            buffer.copy_from_slice(&reception.buffer);
            let packets = reception.packets(self.shape);
            let mut decoded = Vec::new();
            times.round(
                round,
                || self.decode_ours(&mut buffer, &reception),
                || {
                    decoded = self.decode_crate(packets)?;
                    Ok(())
                },
            )?;
            ensure!(buffer.starts_with(&self.source), "a block of K = {} was decoded wrong", self.shape.k());
            ensure!(decoded == self.source, "the crate decoded a block of K = {} wrong", self.shape.k());
        }
        Ok(self.summary("decode", loss, &times, (ours_heap, crate_heap)))
    }

    fn decode_ours(&self, buffer: &mut [u8], reception: &Reception) -> anyhow::Result<()> {
        Ok(self.codec.decode(self.shape, buffer, &reception.received, &reception.parked)?)
    }

    fn decode_crate(&self, packets: Vec<EncodingPacket>) -> anyhow::Result<Vec<u8>> {
        let mut decoder = SourceBlockDecoder::new(0, &self.oti, u64::try_from(self.shape.len())?);
        decoder.decode(packets).context("the crate asks for more symbols")
    }

    fn summary(&self, operation: &'static str, percent: u32, times: &Times, heap: (usize, usize)) -> CodecRow {
        let block_len = self.shape.len() as f64;
        let (ours_s, crate_s) = (median_s(&times.ours), median_s(&times.bare_crate));
        CodecRow {
            bench: "codec",
            operation,
            source_symbols: self.shape.k(),
            symbol_size: self.shape.symbol_size(),
            percent,
            rounds: u32::try_from(times.ours.len()).unwrap_or(u32::MAX),
            ours_mb_s: block_len / ours_s / 1e6,
            crate_mb_s: block_len / crate_s / 1e6,
            ratio: crate_s / ours_s,
            ours_heap_blocks: heap.0 as f64 / block_len,
            crate_heap_blocks: heap.1 as f64 / block_len,
        }
    }
}

/// A block buffer with random losses, and the repair symbols that make up for them parked in the holes.
struct Reception {
    buffer: Vec<u8>,
    received: SymbolSet,
    parked: Vec<Parked>,
}

impl Reception {
    fn new(block: &Block, loss: u32) -> anyhow::Result<Self> {
        let (shape, symbol_size) = (block.shape, block.shape.symbol_size());
        let lost = percent_of(shape.k(), loss);
        let repair_count = if lost == 0 { 0 } else { lost + SPARE_SYMBOLS };
        let mut repair = vec![0; repair_count as usize * symbol_size];
        block.encode_ours(&mut repair)?;

        let mut received = SymbolSet::new(shape.k());
        let mut noise = Noise(u64::from(loss));
        while received.count() < shape.k() - lost {
            received.insert(u32::try_from(noise.next() % u64::from(shape.k()))?);
        }
        let mut buffer = block.source.clone();
        buffer.resize(shape.len() + (repair_count - lost) as usize * symbol_size, 0);
        let free_rows = received.missing().chain(shape.k()..);
        let parked: Vec<Parked> =
            free_rows.zip(shape.k()..).map(|(row, esi)| Parked { row, esi }).take(repair_count as usize).collect();
        for (symbol, parked) in repair.chunks_exact(symbol_size).zip(&parked) {
            let Some(row) = buffer.chunks_exact_mut(symbol_size).nth(parked.row as usize) else {
                bail!("row {} is outside the block buffer", parked.row);
            };
            row.copy_from_slice(symbol);
        }
        Ok(Self { buffer, received, parked })
    }

    /// The same symbols as the crate takes them.
    fn packets(&self, shape: BlockShape) -> Vec<EncodingPacket> {
        let rows = || self.buffer.chunks_exact(shape.symbol_size());
        let source = (0u32..).zip(rows()).filter(|(row, _)| self.received.contains(*row));
        let repair = self.parked.iter().filter_map(|parked| Some((parked.esi, rows().nth(parked.row as usize)?)));
        source.chain(repair).map(|(esi, symbol)| EncodingPacket::new(PayloadId::new(0, esi), symbol.to_vec())).collect()
    }
}

/// How long each round took each contender.
#[derive(Default)]
struct Times {
    ours: Vec<Duration>,
    bare_crate: Vec<Duration>,
}

impl Times {
    /// Times both, and lets the other one go first each round.
    fn round(
        &mut self,
        round: u32,
        ours: impl FnOnce() -> anyhow::Result<()>,
        bare_crate: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if round.is_multiple_of(2) {
            self.ours.push(timed(ours)?);
            self.bare_crate.push(timed(bare_crate)?);
        } else {
            self.bare_crate.push(timed(bare_crate)?);
            self.ours.push(timed(ours)?);
        }
        Ok(())
    }
}

fn timed(operation: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    black_box(operation())?;
    Ok(start.elapsed())
}

/// The median in seconds, at least a nanosecond so that it can divide.
fn median_s(times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    median.max(Duration::from_nanos(1)).as_secs_f64()
}

/// `percent` of `k` symbols, at least one unless it is 0 %.
fn percent_of(k: u32, percent: u32) -> u32 {
    u32::try_from((u64::from(k) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
}

/// SplitMix64: the same bytes and losses in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_agrees_with_the_crate() {
        let options =
            Options { symbol_size: 72, source_symbols: vec![50], repair: 10, loss: vec![0, 10, 100], rounds: 2 };
        let block = Block::new(BlockShape::new(50, 72).expect("a legal shape"), 72).expect("fits");
        let encoded = block.encode(&options).expect("agrees");
        assert_eq!((encoded.operation, encoded.percent, encoded.rounds), ("encode", 10, 2));
        for loss in options.loss.clone() {
            let decoded = block.decode(&options, loss).expect("agrees");
            assert!(decoded.ratio > 0.0 && decoded.crate_mb_s > 0.0, "{decoded:?}");
        }
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let times = [5, 1, 900].map(Duration::from_millis);
        assert!((median_s(&times) - 0.005).abs() < 1e-9);
        assert!(median_s(&[]) > 0.0);
    }

    #[test]
    fn percentages_round_up() {
        assert_eq!([percent_of(1000, 5), percent_of(1001, 5), percent_of(10, 1), percent_of(10, 0)], [50, 51, 1, 0]);
    }
}
