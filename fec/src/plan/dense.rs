//! The second phase (RFC 6330 §5.4.2.3): the system in the inactive columns.
//!
//! Write C\[j\] for column j, c for the inactive columns and e\[j\] for what column j would be if c were zero. A pivot's row says
//! C\[j\] = e\[j\] + E\[j\] · c with bits E\[j\]. Put into the rows that are no pivot's, this gives binary rows in c alone; put into the
//! HDPC rows, H rows over GF(256).

use super::binary::{BinarySystem, add};
use super::octets::{HdpcRows, Solution};
use super::peel::{Peeled, Role, peel};
use crate::gf256::double_bytes;
use crate::rfc6330::Parameters;

/// A system under elimination. Symbols can be added until it has full rank.
#[derive(Debug)]
pub(crate) struct Elimination {
    code: Parameters,
    pub(super) peeled: Peeled,
    /// E: bits of the inactive columns, for each pivot.
    expressions: Vec<u64>,
    /// Words of such bits.
    words: usize,
    pub(super) system: BinarySystem,
    /// The row that was taken as each number.
    pub(super) taken: Vec<u32>,
    hdpc: Option<HdpcRows>,
}

impl Elimination {
    /// Eliminates the system whose symbols have the internal symbol ids `isis`, no two of them equal.
    pub(crate) fn new(code: Parameters, isis: &[u32]) -> Self {
        let peeled = peel(&code, isis);
        let words = peeled.inactive.len().div_ceil(64);
        let system = BinarySystem::new(peeled.inactive.len());
        let mut elimination =
            Self { code, peeled, expressions: Vec::new(), words, system, taken: Vec::new(), hdpc: None };
        elimination.express_pivots();
        for index in 0..elimination.peeled.rest.len() {
            elimination.take(elimination.peeled.rest[index]);
        }
        elimination
    }

    /// The parameters of the code.
    pub(super) fn code(&self) -> &Parameters {
        &self.code
    }

    /// Adds a symbol; tells whether it raised the rank. If so it is the next one after those
    /// that the system had; if not, it is forgotten.
    pub(crate) fn add_symbol(&mut self, isi: u32) -> bool {
        self.peeled.rows.push_symbol(&self.code, isi);
        let row = self.peeled.rows.len() - 1;
        let taken = self.take(u32::try_from(row).unwrap_or(u32::MAX));
        if !taken {
            self.peeled.rows.pop();
        }
        taken
    }

    /// The symbol of row `row`, or `None` for LDPC rows.
    pub(super) fn symbol_of(&self, row: u32) -> Option<usize> {
        (row as usize).checked_sub(self.code.s)
    }

    /// Inactive columns by the binary rows alone, and the solution of the HDPC rows for the others; `None` when the rank is
    /// not full: then the symbols do not determine the block.
    pub(super) fn solve(&mut self) -> Option<Solution> {
        let unknown = self.peeled.inactive.len() - self.system.rank();
        if unknown > self.code.h {
            return None;
        }
        if unknown > 0 && self.hdpc.is_none() {
            self.hdpc = Some(self.hdpc_rows());
        }
        Solution::new(&self.system, self.peeled.inactive.len(), self.hdpc.as_ref())
    }

    fn express_pivots(&mut self) {
        self.expressions.reserve_exact(self.peeled.pivots.len() * self.words);
        let mut bits = vec![0; self.words];
        for number in 0..self.peeled.pivots.len() {
            self.express(self.peeled.pivots[number].row, &mut bits);
            self.expressions.extend_from_slice(&bits);
        }
    }

    /// Makes `bits` what row `row` is in the inactive columns, when every pivot column but the row's own has been replaced.
    fn express(&self, row: u32, bits: &mut [u64]) {
        bits.fill(0);
        for &column in self.peeled.rows.all(row as usize) {
            match self.peeled.roles[usize::from(column)] {
                Role::Inactive(number) => bits[usize::from(number) / 64] ^= 1 << (number % 64),
                // The row's own pivot, if it has one, is not expressed yet.
                Role::Pivot(number) => {
                    if let Some(expression) = self.expression(number) {
                        add(bits, expression);
                    }
                }
                Role::Open => {}
            }
        }
    }

    fn expression(&self, pivot: u16) -> Option<&[u64]> {
        let start = usize::from(pivot) * self.words;
        self.expressions.get(start..start + self.words)
    }

    fn take(&mut self, row: u32) -> bool {
        let mut bits = vec![0; self.words];
        self.express(row, &mut bits);
        let is_taken = self.system.take(&bits);
        if is_taken {
            self.taken.push(row);
        }
        is_taken
    }

    /// The HDPC rows in the inactive columns: the scheme of Horner over the expressions.
    fn hdpc_rows(&self) -> HdpcRows {
        let code = &self.code;
        let mut rows = HdpcRows::new(code.h, self.peeled.inactive.len());
        let mut power_sum = vec![0_u64; self.peeled.inactive.len().div_ceil(8)];
        for column in 0..code.k_prime + code.s {
            for word in &mut power_sum {
                *word = double_bytes(*word);
            }
            match self.peeled.roles[column] {
                Role::Pivot(number) => spread(self.expression(number).unwrap_or_default(), &mut power_sum),
                Role::Inactive(number) => flip_byte(&mut power_sum, usize::from(number)),
                Role::Open => {}
            }
            if column + 1 < code.k_prime + code.s {
                for row in code.hdpc_pair(column) {
                    add(rows.row_mut(usize::from(row)), &power_sum);
                }
            }
        }
        for row in 0..code.h {
            add(rows.row_mut(row), &power_sum);
            for word in &mut power_sum {
                *word = double_bytes(*word);
            }
            if let Role::Inactive(number) = self.peeled.roles[code.k_prime + code.s + row] {
                flip_byte(rows.row_mut(row), usize::from(number));
            }
        }
        rows
    }
}

/// Adds 1 to byte `index`.
fn flip_byte(bytes: &mut [u64], index: usize) {
    bytes[index / 8] ^= 1 << (8 * (index % 8));
}

/// Adds bits to bytes, a byte a bit.
fn spread(bits: &[u64], bytes: &mut [u64]) {
    for (word, eight) in bytes.iter_mut().zip(bits.iter().flat_map(|word| word.to_le_bytes())) {
        *word ^= SPREAD[usize::from(eight)];
    }
}

/// The eight bits of a byte, a byte a bit.
static SPREAD: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= (byte as u64 >> bit & 1) << (8 * bit);
            bit += 1;
        }
        byte += 1;
    }
    table
};
