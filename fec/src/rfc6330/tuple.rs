//! The generators of RFC 6330 §5.3.5: random numbers, degrees, tuples, and the columns of an encoding symbol.

use super::random_tables::V;
use super::{Parameters, narrow};

/// f\[1\], f\[2\], … of Table 1 (§5.3.5.2).
const DEGREE_BOUNDS: [usize; 30] = [
    5243, 529_531, 704_294, 791_675, 844_104, 879_057, 904_023, 922_747, 937_311, 948_962, 958_494, 966_438, 973_160,
    978_921, 983_914, 988_283, 992_138, 995_565, 998_631, 1_001_391, 1_003_887, 1_006_157, 1_008_229, 1_010_129,
    1_011_876, 1_013_490, 1_014_983, 1_016_370, 1_017_662, 1_048_576,
];

/// Rand\[y, i, m\] (§5.3.5.1).
pub(super) fn rand(y: u32, i: u8, m: usize) -> usize {
    let mixed =
        V.iter().zip(y.to_le_bytes()).fold(0, |mixed, (table, byte)| mixed ^ table[usize::from(byte.wrapping_add(i))]);
    mixed as usize % m
}

impl Parameters {
    /// Appends the columns whose intermediate symbols make up the encoding symbol with internal symbol id `isi`: LT columns
    /// first, then PI columns; no column twice (§5.3.5.3 and §5.3.5.4).
    pub(crate) fn encoding_row(&self, isi: u32, columns: &mut Vec<u16>) {
        let a = (53_591 + self.j * 997) | 1;
        let y = (10_267 * (self.j + 1)).wrapping_add(isi.wrapping_mul(a));
        let v = rand(y, 0, 1 << 20);
        let degree = (1 + DEGREE_BOUNDS.partition_point(|&bound| bound <= v)).min(self.w - 2);
        let step = 1 + rand(y, 1, self.w - 1);
        let mut column = rand(y, 2, self.w);
        for _ in 0..degree {
            columns.push(narrow(column));
            column += step;
            if column >= self.w {
                column -= self.w;
            }
        }

        let pi_degree = if degree < 4 { 2 + rand(isi, 3, 2) } else { 2 };
        let step = 1 + rand(isi, 4, self.p1 - 1);
        let mut column = rand(isi, 5, self.p1);
        for _ in 0..pi_degree {
            // P1 is prime and near P, so this ends after a step or a few.
            while column >= self.p {
                column = (column + step) % self.p1;
            }
            columns.push(narrow(self.w + column));
            column = (column + step) % self.p1;
        }
    }
}
