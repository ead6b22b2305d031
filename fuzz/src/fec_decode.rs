//! The decoder: symbols that may be any, said to lie anywhere.

use crate::input::Input;
use fleetcast_fec::{BlockShape, Codec, DecodeError, MAX_ESI, Parked, RepairRow, SymbolSet};
use std::sync::LazyLock;

static CODEC: LazyLock<Codec> = LazyLock::new(Codec::new);
const MAX_K: usize = 80;
const MAX_SPILL: usize = 6;

/// Decodes a block of which the bytes say what was received and parked; true symbols must give the true block.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = BlockShape::new(u32::from(input.u8()) % MAX_K as u32 + 1, 8 * (1 + u16::from(input.u8() % 4)));
    let shape = shape.expect("a legal shape");
    if input.u8() % 2 == 0 { honest(shape, &mut input) } else { forged(shape, &mut input) }
}

/// True symbols: with success comes the true block, and with failure the rows are as they were.
fn honest(shape: BlockShape, input: &mut Input<'_>) {
    let (k, symbol_size) = (shape.k(), shape.symbol_size());
    let source: Vec<u8> = (0..shape.len()).map(|at| (at * 7 % 251).to_le_bytes()[0]).collect();
    let mut received = SymbolSet::new(k);
    let mut block = vec![0xEE; shape.len() + MAX_SPILL * symbol_size];
    for row in 0..k {
        if !input.u8().is_multiple_of(4) {
            received.insert(row);
            let range = row as usize * symbol_size..(row as usize + 1) * symbol_size;
            block[range.clone()].copy_from_slice(&source[range]);
        }
    }
    let free = received.missing().chain(k..k + MAX_SPILL as u32).collect::<Vec<u32>>();
    let mut parked: Vec<Parked> = Vec::new();
    for row in free {
        let esi = k + input.u32() % (MAX_ESI - k + 1);
        if input.u8() != 0 && parked.iter().all(|symbol| symbol.esi != esi) {
            parked.push(Parked { row, esi });
        }
    }
    encode_into(shape, &source, &parked, &mut block);
    let before = block.clone();
    match CODEC.decode(shape, &mut block, &received, &parked) {
        Ok(()) => assert!(block[..shape.len()] == source, "true symbols gave a wrong block"),
        Err(DecodeError::NeedMore { .. }) => {
            let held = received.iter().chain(parked.iter().map(|symbol| symbol.row));
            for row in held {
                let range = row as usize * symbol_size..(row as usize + 1) * symbol_size;
                assert!(block[range.clone()] == before[range], "a row was lost");
            }
        }
        Err(error) => panic!("legal arguments were refused: {error}"),
    }
}

/// Puts the true symbols where they are said to lie.
fn encode_into(shape: BlockShape, source: &[u8], parked: &[Parked], block: &mut [u8]) {
    let mut symbols = vec![vec![0; shape.symbol_size()]; parked.len()];
    let rows = parked.iter().zip(&mut symbols).map(|(symbol, out)| RepairRow { esi: symbol.esi, out });
    CODEC.encode(shape, source, &mut rows.collect::<Vec<_>>()).expect("legal arguments");
    for (symbol, bytes) in parked.iter().zip(&symbols) {
        block[symbol.row as usize * shape.symbol_size()..][..bytes.len()].copy_from_slice(bytes);
    }
}

/// Anything at all: a result, and no panic.
fn forged(shape: BlockShape, input: &mut Input<'_>) {
    let len = match input.u8() % 4 {
        0 => usize::from(input.u16()) % (2 * shape.len()),
        spill => shape.len() + usize::from(spill) * shape.symbol_size(),
    };
    let over = if input.u8() == 0 { u32::from(input.u8()) } else { shape.k() };
    let mut received = SymbolSet::new(over);
    for _ in 0..input.u8() {
        received.insert(u32::from(input.u8()));
    }
    let parked: Vec<Parked> = (0..input.u8() % 100)
        .map(|_| Parked { row: u32::from(input.u8()), esi: input.u32() >> (input.u8() % 32) })
        .collect();
    let mut block = vec![0; len];
    let bytes = input.bytes(len);
    block[..bytes.len()].copy_from_slice(bytes);
    let before = block.clone();
    if let Ok(suspects) = CODEC.suspects(shape, &block, &received, &parked) {
        assert!(suspects.iter().all(|row| received.contains(*row) || parked.iter().any(|symbol| symbol.row == *row)));
    }
    if let Err(DecodeError::Argument(_)) = CODEC.decode(shape, &mut block, &received, &parked) {
        assert!(block == before, "a refused block was touched");
    }
}
