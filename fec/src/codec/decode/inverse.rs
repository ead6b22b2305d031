//! A square system of few unknowns, a row at a time, and its inverse.

use crate::gf256::{Factors, Kernels, Rows, inverse};

/// Rows over `size` unknowns in reduced echelon form, each with how it is made of the rows that were taken.
#[derive(Debug)]
pub(super) struct Inverse {
    kernels: Kernels,
    size: usize,
    /// Coefficients of the unknowns, then of the rows taken.
    rows: Vec<u8>,
    /// Bytes of a row: whole registers.
    stride: usize,
    pivots: Vec<usize>,
}

impl Inverse {
    pub(super) fn new(kernels: Kernels, size: usize) -> Self {
        let stride = (2 * size).max(1).next_multiple_of(kernels.register_len());
        Self { kernels, size, rows: Vec::with_capacity(stride * size), stride, pivots: Vec::with_capacity(size) }
    }

    /// Whether every unknown is determined.
    pub(super) fn is_full(&self) -> bool {
        self.pivots.len() == self.size
    }

    /// Takes a row, unless it depends on those taken before; tells whether it was taken.
    pub(super) fn take(&mut self, coefficients: impl IntoIterator<Item = u8>) -> bool {
        let mut row: Vec<u8> = coefficients.into_iter().take(self.size).collect();
        row.resize(self.stride, 0);
        // The rows are reduced, so none changes the coefficient of another's pivot.
        let factors: Vec<u8> = self.pivots.iter().map(|&pivot| row[pivot]).collect();
        self.kernels.multiply(&mut row, &Factors::new(&factors, 1, 1), &Rows::packed(&self.rows, self.stride));
        let Some(pivot) = row[..self.size].iter().position(|&coefficient| coefficient != 0) else { return false };
        row[self.size + self.pivots.len()] = 1;
        let scale = inverse(row[pivot]);
        self.kernels.scale(&mut row, scale);
        for other in self.rows.chunks_exact_mut(self.stride) {
            let coefficient = other[pivot];
            if coefficient != 0 {
                self.kernels.add_scaled(other, coefficient, &row);
            }
        }
        self.rows.extend(row);
        self.pivots.push(pivot);
        true
    }

    /// The inverse of the matrix of the rows taken, column by column. All unknowns must be determined.
    pub(super) fn into_columns(self) -> Vec<u8> {
        let mut columns = vec![0; self.size * self.size];
        for (row, &unknown) in self.rows.chunks_exact(self.stride).zip(&self.pivots) {
            for (taken, &coefficient) in row[self.size..2 * self.size].iter().enumerate() {
                columns[taken * self.size + unknown] = coefficient;
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf256::product;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_inverse_undoes_the_matrix(size in 1_usize..20, bytes in prop::collection::vec(any::<u8>(), 800)) {
            let mut inverse = Inverse::new(Kernels::detect(), size);
            let mut taken = Vec::new();
            for row in bytes.chunks_exact(size) {
                if !inverse.is_full() && inverse.take(row.iter().copied()) {
                    taken.push(row);
                }
            }
            prop_assume!(inverse.is_full());
            let columns = inverse.into_columns();
            for unknown in 0..size {
                for other in 0..size {
                    let products = taken.iter().enumerate().map(|(k, row)| product(columns[k * size + unknown], row[other]));
                    let sum = products.fold(0, |sum, product| sum ^ product);
                    prop_assert_eq!(sum, u8::from(unknown == other));
                }
            }
        }
    }

    #[test]
    fn dependent_rows_are_refused() {
        let mut inverse = Inverse::new(Kernels::detect(), 3);
        assert!(inverse.take([1, 2, 3]));
        assert!(!inverse.take([2, 4, 6]));
        assert!(!inverse.take([0, 0, 0]));
        assert!(inverse.take([1, 2, 4]));
        assert!(!inverse.take([0, 0, 9]));
        assert!(!inverse.is_full());
        assert!(inverse.take([1, 0, 0]));
        assert!(inverse.is_full());
    }
}
