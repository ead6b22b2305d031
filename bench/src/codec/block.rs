//! One source block, encoded and decoded by both contenders.

use super::bounds::Bounds;
use super::row::CodecRow;
use super::times::{Times, median_s};
use crate::ALLOCATOR;
use anyhow::{Context, bail, ensure};
use fleetcast_fec::{BlockShape, Codec, Kernels, Parked, RepairRow, SymbolSet};
use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder,
    SourceBlockEncodingPlan,
};

/// Symbols received beyond K: enough that no set was ever seen to fail.
const SPARE_SYMBOLS: u32 = 2;

/// Missing symbols up to which any kernel decodes by one product instead of a plan.
const MOST_AS_PRODUCT: u32 = 44;

/// A source block and what either contender caches for it.
pub struct Block {
    shape: BlockShape,
    source: Vec<u8>,
    codec: Codec,
    /// Row additions of the encoding plan, for each source symbol.
    additions: f64,
    bounds: Bounds,
    oti: ObjectTransmissionInformation,
    plan: SourceBlockEncodingPlan,
}

impl Block {
    pub fn new(shape: BlockShape, symbol_size: u16, bounds: Bounds, kernels: Kernels) -> anyhow::Result<Self> {
        let mut noise = Noise(u64::from(shape.k()));
        let source = std::iter::repeat_with(|| noise.next().to_le_bytes()).flatten().take(shape.len()).collect();
        let oti = ObjectTransmissionInformation::new(u64::try_from(shape.len())?, symbol_size, 1, 1, 8);
        let plan = SourceBlockEncodingPlan::generate(u16::try_from(shape.k())?);
        let codec = Codec::with_kernels(kernels);
        let additions = codec.prepare(shape).additions as f64 / f64::from(shape.k());
        Ok(Self { shape, source, codec, additions, bounds, oti, plan })
    }

    /// Computes the repair symbols from ESI K on, one after the other, into `out`.
    fn encode_ours(&self, codec: &Codec, out: &mut [u8]) -> anyhow::Result<()> {
        let mut rows: Vec<RepairRow<'_>> = (self.shape.k()..)
            .zip(out.chunks_exact_mut(self.shape.symbol_size()))
            .map(|(esi, out)| RepairRow { esi, out })
            .collect();
        Ok(codec.encode(self.shape, &self.source, &mut rows)?)
    }

    fn encode_crate(&self, count: u32) -> Vec<EncodingPacket> {
        SourceBlockEncoder::with_encoding_plan(0, &self.oti, &self.source, &self.plan).repair_packets(0, count)
    }

    /// Encodes `repair` percent of K.
    pub fn encode(&self, repair: u32, rounds: u32) -> anyhow::Result<CodecRow> {
        let count = percent_of(self.shape.k(), repair);
        let mut out = vec![0; count as usize * self.shape.symbol_size()];
        let fresh = Codec::with_kernels(self.codec.kernels());
        let (result, ours_heap) = ALLOCATOR.peak_of(|| self.encode_ours(&fresh, &mut out));
        result?;
        let (packets, crate_heap) = ALLOCATOR.peak_of(|| self.encode_crate(count));
        drop(packets);

        let mut times = Times::default();
        for round in 0..rounds {
            out.fill(0);
            let mut packets = Vec::new();
            times.round(
                round,
                || self.encode_ours(&self.codec, &mut out),
                || {
                    packets = self.encode_crate(count);
                    Ok(())
                },
            )?;
            let expected = packets.iter().flat_map(|packet| packet.data());
            ensure!(out.iter().eq(expected), "the repair symbols differ from the crate's at K = {}", self.shape.k());
        }
        let bound = self.bounds.of(self.additions);
        Ok(CodecRow { op: "encode", repair: Some(repair), ..self.row(&times, bound, (ours_heap, crate_heap)) })
    }

    /// Decodes the block with `loss` percent of its source symbols lost.
    pub fn decode(&self, loss: u32, rounds: u32) -> anyhow::Result<CodecRow> {
        let reception = Reception::new(self, loss)?;
        let mut buffer = reception.buffer.clone();
        let fresh = Codec::with_kernels(self.codec.kernels());
        let (result, ours_heap) = ALLOCATOR.peak_of(|| self.decode_ours(&fresh, &mut buffer, &reception));
        result?;
        let packets = reception.packets(self.shape);
        let (result, crate_heap) = ALLOCATOR.peak_of(|| self.decode_crate(packets));
        result?;

        let mut times = Times::default();
        for round in 0..rounds {
            buffer.copy_from_slice(&reception.buffer);
            let packets = reception.packets(self.shape);
            let mut decoded = Vec::new();
            times.round(
                round,
                || self.decode_ours(&self.codec, &mut buffer, &reception),
                || {
                    decoded = self.decode_crate(packets)?;
                    Ok(())
                },
            )?;
            ensure!(buffer.starts_with(&self.source), "a block of K = {} was decoded wrong", self.shape.k());
            ensure!(decoded == self.source, "the crate decoded a block of K = {} wrong", self.shape.k());
        }
        // Few missing symbols are a product whose sums stay in registers: only reading the block bounds that.
        let is_product = percent_of(self.shape.k(), loss) <= MOST_AS_PRODUCT;
        let bound = self.bounds.of(if is_product { 1.0 } else { self.additions });
        Ok(CodecRow { op: "decode", loss: Some(loss), ..self.row(&times, bound, (ours_heap, crate_heap)) })
    }

    fn decode_ours(&self, codec: &Codec, buffer: &mut [u8], reception: &Reception) -> anyhow::Result<()> {
        Ok(codec.decode(self.shape, buffer, &reception.received, &reception.parked)?)
    }

    fn decode_crate(&self, packets: Vec<EncodingPacket>) -> anyhow::Result<Vec<u8>> {
        let mut decoder = SourceBlockDecoder::new(0, &self.oti, u64::try_from(self.shape.len())?);
        decoder.decode(packets).context("the crate asks for more symbols")
    }

    fn row(&self, times: &Times, bound: f64, heap: (usize, usize)) -> CodecRow {
        let block_len = self.shape.len() as f64;
        let (ours_s, crate_s) = (median_s(&times.ours), median_s(&times.bare_crate));
        CodecRow {
            bench: "codec",
            op: "",
            k: self.shape.k(),
            t: self.shape.symbol_size(),
            loss: None,
            repair: None,
            kernels: self.codec.kernels().name(),
            rounds: u32::try_from(times.ours.len()).unwrap_or(u32::MAX),
            ours_mb_s: block_len / ours_s / 1e6,
            crate_mb_s: block_len / crate_s / 1e6,
            ratio: crate_s / ours_s,
            ours_ms: ours_s * 1e3,
            bound_mb_s: bound / 1e6,
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
        block.encode_ours(&block.codec, &mut repair)?;

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
        let bounds = Bounds { xor: 1e10, memory: 1e10, block: 1e10 };
        for kernels in Kernels::available() {
            let shape = BlockShape::new(50, 72).expect("a legal shape");
            let block = Block::new(shape, 72, bounds, kernels).expect("fits");
            let encoded = block.encode(10, 2).expect("agrees");
            assert_eq!((encoded.op, encoded.repair, encoded.loss, encoded.rounds), ("encode", Some(10), None, 2));
            assert_eq!(encoded.kernels, kernels.name());
            for loss in [0, 10, 100] {
                let decoded = block.decode(loss, 2).expect("agrees");
                assert_eq!((decoded.op, decoded.repair, decoded.loss), ("decode", None, Some(loss)));
                assert!(decoded.ratio > 0.0 && decoded.crate_mb_s > 0.0, "{decoded:?}");
            }
        }
    }

    #[test]
    fn percentages_round_up() {
        assert_eq!([percent_of(1000, 5), percent_of(1001, 5), percent_of(10, 1), percent_of(10, 0)], [50, 51, 1, 0]);
    }
}
