//! What the integration tests share: bytes, and the crate `raptorq` as oracle.
#![allow(dead_code, reason = "every test binary uses another part")]

use fleetcast_fec::{BlockShape, Codec, Parked, RepairRow, SymbolSet};
use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder,
    SourceBlockEncodingPlan,
};

/// SplitMix64: the same numbers in every run.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).expect("below 2^32")
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(len).collect()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.below(u32::try_from(index + 1).expect("few items")) as usize;
            items.swap(index, other);
        }
    }
}

/// Cases of a property test: `PROPTEST_CASES` where it is set, as under emulation.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

pub fn shape(k: u32, symbol_size: u16) -> BlockShape {
    BlockShape::new(k, symbol_size).expect("a legal shape")
}

/// The OTI of an object that is this one block.
pub fn oti(shape: BlockShape) -> ObjectTransmissionInformation {
    let symbol_size = u16::try_from(shape.symbol_size()).expect("16 bits");
    ObjectTransmissionInformation::new(shape.len() as u64, symbol_size, 1, 1, 8)
}

/// The crate's plan for `k`.
pub fn crate_plan(k: u32) -> SourceBlockEncodingPlan {
    SourceBlockEncodingPlan::generate(u16::try_from(k).expect("16 bits"))
}

/// The repair symbols of `runs` (first ESI, count), computed by the crate, one after the other.
pub fn crate_repair(shape: BlockShape, source: &[u8], plan: &SourceBlockEncodingPlan, runs: &[(u32, u32)]) -> Vec<u8> {
    let encoder = SourceBlockEncoder::with_encoding_plan(0, &oti(shape), source, plan);
    let packets = runs.iter().flat_map(|&(esi, count)| encoder.repair_packets(esi - shape.k(), count));
    packets.flat_map(|packet| packet.data().to_vec()).collect()
}

/// The repair symbols `esis`, computed by our codec, one after the other.
pub fn repair(codec: &Codec, shape: BlockShape, source: &[u8], esis: &[u32]) -> Vec<u8> {
    let mut out = vec![0xEE; esis.len() * shape.symbol_size()];
    let chunks = out.chunks_mut(shape.symbol_size());
    let mut rows: Vec<_> = esis.iter().zip(chunks).map(|(&esi, out)| RepairRow { esi, out }).collect();
    codec.encode(shape, source, &mut rows).expect("good arguments");
    out
}

/// What the crate makes of some symbols.
pub fn crate_decode(shape: BlockShape, symbols: &[(u32, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut decoder = SourceBlockDecoder::new(0, &oti(shape), shape.len() as u64);
    decoder.decode(symbols.iter().map(|(esi, symbol)| EncodingPacket::new(PayloadId::new(0, *esi), symbol.clone())))
}

/// A block buffer with some symbols in it, in no order, and what lies where.
pub struct Buffer {
    pub block: Vec<u8>,
    pub received: SymbolSet,
    pub parked: Vec<Parked>,
}

impl Buffer {
    /// Puts source symbols in their rows, and repair symbols in random others; all rows left are garbage. A repeat of a
    /// symbol is dropped, as a receiver does.
    pub fn new(shape: BlockShape, symbols: &[(u32, Vec<u8>)], noise: &mut Noise) -> Self {
        let mut received = SymbolSet::new(shape.k());
        let mut repair: Vec<&(u32, Vec<u8>)> = Vec::new();
        for symbol in symbols {
            if !received.insert(symbol.0) && symbol.0 >= shape.k() && repair.iter().all(|other| other.0 != symbol.0) {
                repair.push(symbol);
            }
        }
        let holes = (shape.k() - received.count()) as usize;
        let spill = repair.len().saturating_sub(holes) + 1;
        let mut block = noise.bytes(shape.len() + spill * shape.symbol_size());
        let mut row = |row: u32, symbol: &[u8]| {
            block[row as usize * shape.symbol_size()..][..shape.symbol_size()].copy_from_slice(symbol);
        };
        for (esi, symbol) in symbols.iter().filter(|(esi, _)| *esi < shape.k()) {
            row(*esi, symbol);
        }
        let rows = shape.k() + u32::try_from(spill).expect("few rows");
        let mut free: Vec<u32> = (0..rows).filter(|&row| !received.contains(row)).collect();
        noise.shuffle(&mut free);
        let mut parked: Vec<Parked> = repair
            .iter()
            .zip(free)
            .map(|((esi, symbol), free)| {
                row(free, symbol);
                Parked { row: free, esi: *esi }
            })
            .collect();
        noise.shuffle(&mut parked);
        Self { block, received, parked }
    }
}
