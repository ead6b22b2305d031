//! Which symbols cannot be right, when there are more than a decode needs.
//!
//! With s symbols beyond those that determine the block there are s equations that right symbols fulfil (the *checks*).
//! What a check gives instead of zero is, byte column by byte column, a sum over the wrong symbols: the coefficient of
//! each in that check times its error in that column. So the results of all checks, as vectors of length s, lie in the
//! space that the wrong symbols' coefficients span; with fewer wrong symbols than checks that is not everything, and a
//! right symbol's coefficients lie in it by chance only.

use super::inverse::Inverse;
use super::syndrome::{matrix_stride, repair_matrix};
use super::{Task, validate};
use crate::codec::scratch::Lease;
use crate::codec::{Codec, DecodeArgumentError, Parked};
use crate::gf256::{Factors, Rows, inverse, product};
use crate::plan::Plan;
use crate::{BlockShape, SymbolSet};

/// Checks that are looked at: a few tell wrong symbols from right ones.
const MAX_CHECKS: usize = 8;
/// Parked symbols up to which it is done: time and memory grow with their number times K.
const MAX_PARKED: usize = 512;
/// Bytes of a symbol worked on at a time.
const STRIP: usize = 128;

impl Codec {
    /// Finds symbols that cannot be right, in a block that decoded to other content than its hash promises.
    ///
    /// The arguments are those of [`decode`](Self::decode), with the block as it was *before*. Returns rows of the
    /// block. With s symbols beyond K, up to s − 1 wrong ones are found; a right one may be among them by chance, once in
    /// 256 to the power of s less the number of wrong ones, for each that is there. Empty when it cannot be told: too few or
    /// too many symbols, too many wrong ones, or none.
    ///
    /// # Errors
    /// A mistake of the caller.
    pub fn suspects(
        &self,
        shape: BlockShape,
        block: &[u8],
        received: &SymbolSet,
        parked: &[Parked],
    ) -> Result<Vec<u32>, DecodeArgumentError> {
        validate(shape, block, received, parked)?;
        let missing: Vec<u32> = received.missing().collect();
        let task = Task { kernels: self.kernels, shape, received, parked, missing: &missing };
        Ok(suspects(task, &self.encoding_plan(shape), &mut self.scratch.lease(), block))
    }
}

/// Rows of `block` whose symbols contradict the others; none when there are too few checks to tell.
fn suspects(task: Task<'_>, plan: &Plan, scratch: &mut Lease<'_>, block: &[u8]) -> Vec<u32> {
    // With a single check every symbol that it involves may be the wrong one.
    if task.parked.len() < task.missing.len() + 2 || task.parked.len() > MAX_PARKED {
        return Vec::new();
    }
    let Some(checks) = Checks::new(task, plan, scratch, block) else { return Vec::new() };
    let Some(space) = checks.results(task, block) else { return Vec::new() };
    if space.basis.is_empty() {
        return Vec::new();
    }
    let is_suspect = |(_, coefficients): &(u32, &[u8])| {
        coefficients.iter().any(|&coefficient| coefficient != 0) && space.contains(coefficients)
    };
    (0..).zip(checks.coefficients.chunks_exact(checks.count)).filter(is_suspect).map(|(row, _)| row).collect()
}

/// The equations that symbols beyond the necessary ones give.
struct Checks {
    count: usize,
    /// `count` coefficients for each row of the block buffer; zeros where nothing lies.
    coefficients: Vec<u8>,
}

impl Checks {
    /// The checks of what was received, or `None` when it does not determine the block and leave something over.
    fn new(task: Task<'_>, plan: &Plan, scratch: &mut Lease<'_>, block: &[u8]) -> Option<Self> {
        let matrix = RepairMatrix::new(task, plan, scratch);
        let mut inverse = Inverse::new(task.kernels, task.missing.len());
        let (mut chosen, mut surplus) = (Vec::new(), Vec::new());
        for number in 0..task.parked.len() {
            let row = task.missing.iter().map(|&symbol| matrix.of(symbol, number));
            let is_chosen = !inverse.is_full() && inverse.take(row);
            if is_chosen { &mut chosen } else { &mut surplus }.push(number);
        }
        surplus.truncate(MAX_CHECKS);
        if !inverse.is_full() || surplus.len() < 2 {
            return None;
        }
        let inverse = inverse.into_columns();
        // What cancels the missing symbols out of a surplus repair symbol: so much of each chosen one.
        let weight = |&number: &usize, taken: usize| {
            let column = &inverse[taken * task.missing.len()..][..task.missing.len()];
            let terms =
                task.missing.iter().zip(column).map(|(&symbol, &part)| product(matrix.of(symbol, number), part));
            terms.fold(0, |sum, term| sum ^ term)
        };
        let weights: Vec<Vec<u8>> =
            surplus.iter().map(|number| (0..chosen.len()).map(|taken| weight(number, taken)).collect()).collect();

        let count = surplus.len();
        let mut coefficients = vec![0; block.len() / task.shape.symbol_size() * count];
        for symbol in task.received.iter() {
            for ((to, &number), weights) in
                coefficients[symbol as usize * count..].iter_mut().zip(&surplus).zip(&weights)
            {
                let through_chosen =
                    chosen.iter().zip(weights).map(|(&taken, &weight)| product(weight, matrix.of(symbol, taken)));
                *to = through_chosen.fold(matrix.of(symbol, number), |sum, term| sum ^ term);
            }
        }
        let row = |number: &usize| task.parked[*number].row as usize * count;
        for (taken, number) in chosen.iter().enumerate() {
            for (to, weights) in coefficients[row(number)..].iter_mut().zip(&weights) {
                *to = weights[taken];
            }
        }
        for (check, number) in surplus.iter().enumerate() {
            coefficients[row(number) + check] = 1;
        }
        Some(Self { count, coefficients })
    }

    /// The space that the results of all checks lie in; `None` when that is everything.
    fn results(&self, task: Task<'_>, block: &[u8]) -> Option<Space> {
        let mut space = Space { basis: Vec::new() };
        let factors = Factors::new(&self.coefficients, self.count, self.count);
        let symbol_size = task.shape.symbol_size();
        for start in (0..symbol_size).step_by(STRIP) {
            let strip = start..symbol_size.min(start + STRIP);
            let mut results = vec![0; self.count * strip.len()];
            task.kernels.multiply(&mut results, &factors, &Rows::new(block, symbol_size, strip.clone()));
            for column in 0..strip.len() {
                space.add(results.iter().skip(column).step_by(strip.len()).copied().collect());
            }
            if space.basis.len() == self.count {
                return None;
            }
        }
        Some(space)
    }
}

/// The repair matrix M for all parked symbols.
struct RepairMatrix {
    bytes: Vec<u8>,
    stride: usize,
}

impl RepairMatrix {
    fn new(task: Task<'_>, plan: &Plan, scratch: &mut Lease<'_>) -> Self {
        Self { bytes: repair_matrix(task, plan, scratch, task.parked), stride: matrix_stride(task, task.parked.len()) }
    }

    /// What source symbol `symbol` contributes to parked symbol `number`.
    fn of(&self, symbol: u32, number: usize) -> u8 {
        self.bytes[symbol as usize * self.stride + number]
    }
}

/// A space of short vectors, by a basis in echelon form.
struct Space {
    /// Each with its first non-zero place, where it is 1.
    basis: Vec<(usize, Vec<u8>)>,
}

impl Space {
    /// What is left of `vector` without its part in the space.
    fn reduced(&self, mut vector: Vec<u8>) -> Vec<u8> {
        for (pivot, row) in &self.basis {
            let factor = vector[*pivot];
            if factor != 0 {
                vector.iter_mut().zip(row).for_each(|(to, &from)| *to ^= product(factor, from));
            }
        }
        vector
    }

    fn contains(&self, vector: &[u8]) -> bool {
        self.reduced(vector.to_vec()).iter().all(|&byte| byte == 0)
    }

    fn add(&mut self, vector: Vec<u8>) {
        let mut rest = self.reduced(vector);
        if let Some(pivot) = rest.iter().position(|&byte| byte != 0) {
            let scale = inverse(rest[pivot]);
            rest.iter_mut().for_each(|byte| *byte = product(scale, *byte));
            self.basis.push((pivot, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{BlockShape, Codec, Parked, RepairRow, SymbolSet};
    use proptest::prelude::*;

    const T: u16 = 48;

    /// A block with symbols missing, repair symbols parked in the holes and behind, and some of all rows changed.
    struct Reception {
        shape: BlockShape,
        block: Vec<u8>,
        received: SymbolSet,
        parked: Vec<Parked>,
    }

    impl Reception {
        fn new(k: u32, missing: &[u32], surplus: u32, seed: u64) -> Self {
            let shape = BlockShape::new(k, T).unwrap();
            let mut noise = seed | 1;
            let mut source = vec![0; shape.len()];
            for byte in &mut source {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (noise >> 56) as u8;
            }
            let mut received = SymbolSet::new(k);
            (0..k).filter(|symbol| !missing.contains(symbol)).for_each(|symbol| assert!(received.insert(symbol)));
            let rows: Vec<u32> = received.missing().chain(k..k + surplus).collect();
            let parked: Vec<Parked> = rows.iter().zip(k + 5..).map(|(&row, esi)| Parked { row, esi }).collect();
            let mut repair = vec![0; parked.len() * usize::from(T)];
            let mut out: Vec<RepairRow<'_>> = parked
                .iter()
                .zip(repair.chunks_exact_mut(usize::from(T)))
                .map(|(parked, out)| RepairRow { esi: parked.esi, out })
                .collect();
            Codec::new().encode(shape, &source, &mut out).unwrap();
            let mut block = source;
            block.resize(block.len() + surplus as usize * usize::from(T), 0);
            for (parked, symbol) in parked.iter().zip(repair.chunks_exact(usize::from(T))) {
                block[parked.row as usize * usize::from(T)..][..usize::from(T)].copy_from_slice(symbol);
            }
            Self { shape, block, received, parked }
        }

        fn forge(&mut self, row: u32, error: &[u8]) {
            let at = row as usize * usize::from(T);
            self.block[at..].iter_mut().zip(error).for_each(|(byte, error)| *byte ^= error);
        }

        fn suspects(&self) -> Vec<u32> {
            Codec::new().suspects(self.shape, &self.block, &self.received, &self.parked).unwrap()
        }
    }

    #[test]
    fn right_symbols_are_not_suspected() {
        assert_eq!(Reception::new(60, &[3, 9, 40], 4, 1).suspects(), []);
        assert_eq!(Reception::new(60, &[], 4, 1).suspects(), []);
    }

    #[test]
    fn one_surplus_symbol_tells_nothing_and_two_narrow_it_down() {
        for surplus in [0, 1] {
            let mut reception = Reception::new(60, &[3, 9, 40], surplus, 1);
            reception.forge(20, &[1; T as usize]);
            assert_eq!(reception.suspects(), []);
        }
        let mut reception = Reception::new(60, &[3, 9, 40], 2, 1);
        reception.forge(20, &[1; T as usize]);
        let suspects = reception.suspects();
        assert!(suspects.contains(&20) && suspects.len() < 5, "{suspects:?}");
    }

    #[test]
    fn as_many_errors_as_checks_cannot_be_told() {
        let mut reception = Reception::new(60, &[3], 2, 1);
        reception.forge(20, &[1, 0, 7]);
        reception.forge(21, &[0, 1, 8]);
        assert_eq!(reception.suspects(), []);
    }

    proptest! {
        /// Up to three of what lies in the block, source symbols, chosen or surplus repair symbols, are changed anyhow.
        #[test]
        fn finds_the_forged_symbols(
            k in 12_u32..200, missing in prop::collection::btree_set(0_u32..12, 0..8), seed in any::<u64>(),
            forged in prop::collection::btree_set(0_u32..1000, 1..4),
        ) {
            let missing: Vec<u32> = missing.into_iter().collect();
            let mut reception = Reception::new(k, &missing, 6, seed);
            let forged: std::collections::BTreeSet<u32> = forged.into_iter().map(|row| row % (k + 6)).collect();
            for &row in &forged {
                let noise = Reception::new(12, &[], 0, seed ^ u64::from(row) << 32).block;
                reception.forge(row, &noise[..usize::from(T)]);
            }
            // Three checks more than errors: a right symbol is among them once in 256³.
            prop_assert_eq!(reception.suspects(), forged.into_iter().collect::<Vec<_>>());
        }
    }
}
