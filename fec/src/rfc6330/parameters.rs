//! K', S, H, W and what follows from them (RFC 6330 §5.3.3.3), and the pre-coding rows of the constraint matrix.

use super::narrow;
use super::systematic_table::SYSTEMATIC;
use super::tuple::rand;

/// The parameters of an extended source block.
///
/// Columns of the constraint matrix are intermediate symbols: B, then S LDPC symbols (together the W LT symbols), then U,
/// then H HDPC symbols (together the P PI symbols).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// K': source symbols with padding.
    pub k_prime: usize,
    /// J: the systematic index.
    pub j: u32,
    /// S: LDPC symbols.
    pub s: usize,
    /// H: HDPC symbols.
    pub h: usize,
    /// W: LT symbols.
    pub w: usize,
    /// L: intermediate symbols.
    pub l: usize,
    /// P: PI symbols.
    pub p: usize,
    /// P1: the smallest prime at or above P.
    pub p1: usize,
}

impl Parameters {
    /// Those of the smallest K' that holds `k` source symbols; `k` is at most K'_max, and larger ones get K'_max.
    pub(crate) fn for_k(k: usize) -> Self {
        let index = SYSTEMATIC.partition_point(|&(k_prime, ..)| usize::from(k_prime) < k);
        let (k_prime, j, s, h, w) = SYSTEMATIC[index.min(SYSTEMATIC.len() - 1)];
        let (k_prime, s, h, w) = (usize::from(k_prime), usize::from(s), usize::from(h), usize::from(w));
        let l = k_prime + s + h;
        let p = l - w;
        Self { k_prime, j: u32::from(j), s, h, w, l, p, p1: smallest_prime_from(p) }
    }

    /// The columns of LDPC row `row` (of S): LT columns first, then PI columns.
    ///
    /// §5.3.3.3 adds C\[i\] to D\[i % S\], D\[(i % S + a) % S\] and D\[(i % S + 2a) % S\] with a = 1 + i / S; here the rows are the outer
    /// loop.
    pub(crate) fn ldpc_row(&self, row: usize, columns: &mut Vec<u16>) {
        let (s, b) = (self.s, self.w - self.s);
        let start = columns.len();
        for turn in 0..b.div_ceil(s) {
            let step = (1 + turn) % s;
            for hop in 0..3 {
                let column = turn * s + (row + hop * (s - step)) % s;
                if column < b {
                    columns.push(narrow(column));
                }
            }
        }
        columns.push(narrow(b + row));
        cancel_pairs(columns, start);
        let pi_start = columns.len();
        columns.push(narrow(self.w + row % self.p));
        columns.push(narrow(self.w + (row + 1) % self.p));
        cancel_pairs(columns, pi_start);
    }

    /// The two HDPC rows in which column `column` of MT is one (§5.3.3.3), for all columns but the last.
    pub(crate) fn hdpc_pair(&self, column: usize) -> [u8; 2] {
        let y = u32::from(narrow(column)) + 1;
        let (first, step) = (rand(y, 6, self.h), rand(y, 7, self.h - 1));
        [first, (first + step + 1) % self.h].map(|row| narrow(row).to_le_bytes()[0])
    }
}

/// Sorts `columns[start..]` and takes out what is there twice: 1 + 1 = 0.
fn cancel_pairs(columns: &mut Vec<u16>, start: usize) {
    let mut sorted = columns.split_off(start);
    sorted.sort_unstable();
    for same in sorted.chunk_by(|one, next| one == next) {
        columns.extend(same.iter().take(same.len() % 2));
    }
}

fn smallest_prime_from(number: usize) -> usize {
    let is_prime = |n: &usize| *n >= 2 && (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (number..).find(is_prime).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_keeps_what_the_rfc_says_of_it() {
        assert!(SYSTEMATIC.is_sorted_by(|one, next| one.0 < next.0));
        for (k_prime, j, s, h, w) in SYSTEMATIC {
            let parameters = Parameters::for_k(usize::from(k_prime));
            assert_eq!((parameters.k_prime, parameters.j), (usize::from(k_prime), u32::from(j)));
            assert_eq!(smallest_prime_from(usize::from(s)), usize::from(s), "S is prime");
            assert_eq!(smallest_prime_from(usize::from(w)), usize::from(w), "W is prime");
            assert!(parameters.p >= usize::from(h), "every HDPC symbol is a PI symbol");
        }
    }

    #[test]
    fn k_is_extended_to_the_next_of_the_table() {
        let k_prime = |k| Parameters::for_k(k).k_prime;
        assert_eq!([1, 10, 11, 12, 13].map(k_prime), [10, 10, 12, 12, 18]);
        assert_eq!([56_402, 56_403].map(k_prime), [56_403; 2]);
    }

    /// The loops of §5.3.3.3, as they are written there.
    #[test]
    fn ldpc_rows_are_those_of_the_rfc() {
        for k in [10, 101, 1002, 5000] {
            let code = Parameters::for_k(k);
            let b = code.w - code.s;
            let mut expected = vec![vec![false; code.l]; code.s];
            for i in 0..b {
                let a = 1 + i / code.s;
                for hop in 0..3 {
                    expected[(i + hop * a) % code.s][i] ^= true;
                }
            }
            for (i, row) in expected.iter_mut().enumerate() {
                row[b + i] ^= true;
                row[code.w + i % code.p] ^= true;
                row[code.w + (i + 1) % code.p] ^= true;
            }
            for (row, expected) in expected.iter().enumerate() {
                let mut columns = Vec::new();
                code.ldpc_row(row, &mut columns);
                let ones: Vec<u16> = (0..code.l).filter(|&column| expected[column]).map(narrow).collect();
                assert_eq!(columns, ones, "row {row} of K' = {k}");
            }
        }
    }
}
