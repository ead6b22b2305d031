//! Elimination over GF(2), a row at a time: what each row says of the inactive columns.

/// Rows that have been brought to reduced echelon form, and how each is made of the rows that went in.
#[derive(Debug)]
pub(super) struct BinarySystem {
    columns: usize,
    /// Words of a row: its columns, then one bit for each row taken.
    words: usize,
    rows: Vec<u64>,
    pivots: Vec<usize>,
}

impl BinarySystem {
    pub(super) fn new(columns: usize) -> Self {
        Self { columns, words: 2 * columns.div_ceil(64), rows: Vec::new(), pivots: Vec::new() }
    }

    /// How many rows were taken: the rank.
    pub(super) fn rank(&self) -> usize {
        self.pivots.len()
    }

    /// The pivot column of each row taken.
    pub(super) fn pivots(&self) -> &[usize] {
        &self.pivots
    }

    /// Whether row `number` is one in `column`.
    pub(super) fn has(&self, number: usize, column: usize) -> bool {
        bit(self.row(number), column)
    }

    /// Whether row `number` is made with the row taken as number `taken`.
    pub(super) fn made_of(&self, number: usize, taken: usize) -> bool {
        bit(self.row(number), self.words / 2 * 64 + taken)
    }

    fn row(&self, number: usize) -> &[u64] {
        &self.rows[number * self.words..][..self.words]
    }

    /// Takes a row, given as bits of columns, unless it depends on those taken before; tells whether it was taken.
    pub(super) fn take(&mut self, bits: &[u64]) -> bool {
        let half = self.words / 2;
        let mut row = vec![0; self.words];
        row[..half].copy_from_slice(bits);
        for (number, &pivot) in self.pivots.iter().enumerate() {
            if bit(&row, pivot) {
                add(&mut row, &self.rows[number * self.words..][..self.words]);
            }
        }
        let Some(pivot) = (0..self.columns).find(|&column| bit(&row, column)) else { return false };
        let own = half * 64 + self.pivots.len();
        row[own / 64] |= 1 << (own % 64);
        for other in self.rows.chunks_exact_mut(self.words) {
            if bit(other, pivot) {
                add(other, &row);
            }
        }
        self.rows.extend(row);
        self.pivots.push(pivot);
        true
    }
}

/// Bit `index` of a row.
pub(super) fn bit(row: &[u64], index: usize) -> bool {
    row[index / 64] >> (index % 64) & 1 != 0
}

/// Adds a row to another.
pub(super) fn add(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}
