//! The kernels, written once over a vector of bytes. Each instruction set compiles them anew with its own vectors.

use super::program::Program;
use super::source::Source;
use super::{Factors, Horner, Rows};

/// A register of bytes, and arithmetic in GF(256) on it.
///
/// Every method is unsafe for one reason: the CPU must have the instruction set of the type. `load` and `store` also need
/// a pointer to [`BYTES`](Self::BYTES) bytes, and `load_part` and `store_part` one to `len` bytes, less than that.
pub(super) trait Vector: Copy {
    /// Bytes of a register.
    const BYTES: usize;
    /// Whether there are 32 registers rather than 16.
    const MANY: bool;
    /// A coefficient as `multiply` takes it.
    type Factor: Copy;
    /// A register after the part of a multiplication that does not depend on the coefficient.
    type Prepared: Copy;

    unsafe fn zero() -> Self;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn xor(self, other: Self) -> Self;
    #[inline(always)]
    unsafe fn xor3(self, one: Self, other: Self) -> Self {
        // SAFETY: passed on to the caller.
        unsafe { self.xor(one).xor(other) }
    }
    /// Times α = 2.
    unsafe fn double(self) -> Self;
    unsafe fn factor(coefficient: u8) -> Self::Factor;
    unsafe fn prepare(self) -> Self::Prepared;
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self;

    /// Asks for the cache line at `from`, which may be any address.
    #[inline(always)]
    unsafe fn prefetch(_from: *const u8) {}

    #[inline(always)]
    unsafe fn load_part(from: *const u8, len: usize) -> Self {
        let mut bytes = [0_u8; 64];
        // SAFETY: `len` is less than BYTES, which is at most 64, and the caller vouches for `len` bytes at `from`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len);
            Self::load(bytes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, len: usize) {
        let mut bytes = [0_u8; 64];
        // SAFETY: `len` is less than BYTES, which is at most 64, and the caller vouches for `len` bytes at `to`.
        unsafe {
            self.store(bytes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len);
        }
    }
}

/// Loads `N` registers from `from`, or, when `PART`, the first one from `part` bytes only.
#[inline(always)]
unsafe fn load<V: Vector, const N: usize, const PART: bool>(from: *const u8, part: usize) -> [V; N] {
    // SAFETY: passed on to the caller.
    unsafe {
        let mut registers = [V::zero(); N];
        for (n, register) in registers.iter_mut().enumerate() {
            *register = if PART { V::load_part(from, part) } else { V::load(from.add(n * V::BYTES)) };
        }
        registers
    }
}

#[inline(always)]
unsafe fn store<V: Vector, const N: usize, const PART: bool>(registers: [V; N], to: *mut u8, part: usize) {
    for (n, register) in registers.into_iter().enumerate() {
        // SAFETY: passed on to the caller.
        unsafe { if PART { register.store_part(to, part) } else { register.store(to.add(n * V::BYTES)) } }
    }
}

#[inline(always)]
unsafe fn add<V: Vector, const N: usize>(sum: &mut [V; N], other: [V; N]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        // SAFETY: passed on to the caller.
        *sum = unsafe { sum.xor(other) };
    }
}

#[inline(always)]
unsafe fn double<V: Vector, const N: usize>(value: &mut [V; N]) {
    for register in value {
        // SAFETY: passed on to the caller.
        *register = unsafe { register.double() };
    }
}

#[inline(always)]
unsafe fn prepare<V: Vector, const N: usize>(value: [V; N]) -> [V::Prepared; N] {
    // SAFETY: passed on to the caller.
    unsafe {
        let mut prepared = [value[0].prepare(); N];
        for (prepared, value) in prepared.iter_mut().zip(value).skip(1) {
            *prepared = value.prepare();
        }
        prepared
    }
}

/// Adds `value · factor` to `sum`.
#[inline(always)]
unsafe fn add_product<V: Vector, const N: usize>(sum: &mut [V; N], value: &[V::Prepared; N], factor: V::Factor) {
    for (sum, value) in sum.iter_mut().zip(value) {
        // SAFETY: passed on to the caller.
        *sum = unsafe { sum.xor(V::multiply(*value, factor)) };
    }
}

/// Adds `value` to what lies at `to`.
#[inline(always)]
unsafe fn add_to<V: Vector, const N: usize, const PART: bool>(to: *mut u8, value: [V; N], part: usize) {
    // SAFETY: passed on to the caller.
    unsafe {
        let mut sum = load::<V, N, PART>(to, part);
        add(&mut sum, value);
        store::<V, N, PART>(sum, to, part);
    }
}

/// Calls `$kernel::<V, registers, part>(offset, part_len)` until `$width` bytes are covered.
macro_rules! for_columns {
    ($width:expr, |$offset:ident, $part:ident| $kernel:ident::<V, #>($($argument:expr),*)) => {{
        let width: usize = $width;
        let mut $offset = 0;
        let mut $part = 0;
        while width - $offset >= 4 * V::BYTES {
            $kernel::<V, 4, false>($($argument),*);
            $offset += 4 * V::BYTES;
        }
        if width - $offset >= 2 * V::BYTES {
            $kernel::<V, 2, false>($($argument),*);
            $offset += 2 * V::BYTES;
        }
        if width - $offset >= V::BYTES {
            $kernel::<V, 1, false>($($argument),*);
            $offset += V::BYTES;
        }
        if width > $offset {
            $part = width - $offset;
            $kernel::<V, 1, true>($($argument),*);
        }
        let _ = ($offset, $part);
    }};
}

const CACHE_LINE: usize = 64;
/// Operations by which source symbols are asked for ahead: no hardware foresees the order in which a program reads them.
const AHEAD: usize = 8;
/// Rows by which a product asks ahead.
const ROWS_AHEAD: usize = 16;

/// Runs a program: see [`Kernels::run`](super::Kernels::run).
///
/// # Safety
/// The CPU has the instruction set of `V`, and `slab` points to `program.rows()` rows of `width` bytes.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(program: &Program, source: &Source<'_>, slab: *mut u8, width: usize) {
    let mut ahead = program.operations().skip(AHEAD);
    for operation in program.operations() {
        if let Some(strip) = ahead.next().and_then(|later| source.strip(later.source?, width)) {
            for line in strip.chunks(CACHE_LINE) {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { V::prefetch(line.as_ptr()) };
            }
        }
        let strip = operation.source.and_then(|number| source.strip(number, width));
        // SAFETY: Program::push keeps `rows` above every row of every operation.
        let to = unsafe { slab.add(usize::from(operation.row) * width) };
        let first = strip.map_or(std::ptr::null(), <[u8]>::as_ptr);
        // SAFETY: as above for the terms; `first` is null or points to `width` bytes.
        unsafe {
            for_columns!(width, |offset, part| sum::<V, #>(to, first, slab, operation.terms, width, offset, part));
        }
    }
}

/// `to` = sum of rows `terms` of a slab: see [`Kernels::sum`](super::Kernels::sum).
///
/// # Safety
/// The CPU has the instruction set of `V`, `to` points to `width` bytes outside the slab, and `slab` to rows of `width`
/// bytes, more of them than the largest of `terms`.
#[inline(always)]
pub(super) unsafe fn sum_into<V: Vector>(to: *mut u8, slab: *const u8, terms: &[u16], width: usize) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        for_columns!(width, |offset, part| sum::<V, #>(to, std::ptr::null(), slab, terms, width, offset, part));
    }
}

#[inline(always)]
unsafe fn sum<V: Vector, const N: usize, const PART: bool>(
    to: *mut u8,
    first: *const u8,
    slab: *const u8,
    terms: &[u16],
    width: usize,
    offset: usize,
    part: usize,
) {
    // SAFETY: every pointer is to `width` bytes, of which those at `offset` are N registers or `part` bytes.
    unsafe {
        let mut sum = if first.is_null() { [V::zero(); N] } else { load::<V, N, PART>(first.add(offset), part) };
        for &term in terms {
            add(&mut sum, load::<V, N, PART>(slab.add(usize::from(term) * width + offset), part));
        }
        store::<V, N, PART>(sum, to.add(offset), part);
    }
}

/// Runs a program's transpose: see [`Kernels::run_transposed`](super::Kernels::run_transposed).
///
/// # Safety
/// The CPU has the instruction set of `V`, and `slab` points to `program.rows()` rows of `width` bytes.
#[inline(always)]
pub(super) unsafe fn run_transposed<V: Vector>(program: &Program, slab: *mut u8, sources: &mut [u8], width: usize) {
    for operation in program.operations_reversed() {
        let start = operation.source.map_or(usize::MAX, |number| usize::from(number) * width);
        let source = start.checked_add(width).and_then(|end| sources.get_mut(start..end));
        let source = source.map_or(std::ptr::null_mut(), <[u8]>::as_mut_ptr);
        // SAFETY: Program::push keeps `rows` above every row of every operation; `source` is null or has `width` bytes.
        unsafe {
            let from = slab.add(usize::from(operation.row) * width);
            for_columns!(width, |offset, part| scatter::<V, #>(from, source, slab, operation.terms, width, offset, part));
        }
    }
}

#[inline(always)]
unsafe fn scatter<V: Vector, const N: usize, const PART: bool>(
    from: *mut u8,
    source: *mut u8,
    slab: *mut u8,
    terms: &[u16],
    width: usize,
    offset: usize,
    part: usize,
) {
    // SAFETY: every pointer is to `width` bytes, of which those at `offset` are N registers or `part` bytes.
    unsafe {
        let value = load::<V, N, PART>(from.add(offset), part);
        // Cleared first: a term may be the row itself.
        store::<V, N, PART>([V::zero(); N], from.add(offset), part);
        for &term in terms {
            add_to::<V, N, PART>(slab.add(usize::from(term) * width + offset), value, part);
        }
        if !source.is_null() {
            add_to::<V, N, PART>(source.add(offset), value, part);
        }
    }
}

/// The HDPC sums: see [`Kernels::horner`](super::Kernels::horner).
///
/// # Safety
/// The CPU has the instruction set of `V`; `slab` points to `horner.columns()` rows of `width` bytes and `sums` to
/// `horner.sums()` others.
#[inline(always)]
pub(super) unsafe fn horner<V: Vector>(horner: &Horner, slab: *const u8, sums: *mut u8, width: usize) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        for_columns!(width, |offset, part| horner_columns::<V, #>(horner, slab, sums, width, offset, part));
    }
}

#[inline(always)]
unsafe fn horner_columns<V: Vector, const N: usize, const PART: bool>(
    horner: &Horner,
    slab: *const u8,
    sums: *mut u8,
    width: usize,
    offset: usize,
    part: usize,
) {
    // SAFETY: every row has `width` bytes, of which those at `offset` are N registers or `part` bytes; Horner::new keeps all
    // pairs below `sums()`.
    unsafe {
        let zero = [V::zero(); N];
        for row in 0..horner.sums() {
            store::<V, N, PART>(zero, sums.add(row * width + offset), part);
        }
        let mut power_sum = zero;
        let mut next = slab.add(offset);
        for &[one, other] in horner.pairs() {
            double(&mut power_sum);
            add(&mut power_sum, load::<V, N, PART>(next, part));
            next = next.add(width);
            add_to::<V, N, PART>(sums.add(usize::from(one) * width + offset), power_sum, part);
            add_to::<V, N, PART>(sums.add(usize::from(other) * width + offset), power_sum, part);
        }
        double(&mut power_sum);
        add(&mut power_sum, load::<V, N, PART>(next, part));
        for row in 0..horner.sums() {
            add_to::<V, N, PART>(sums.add(row * width + offset), power_sum, part);
            double(&mut power_sum);
        }
    }
}

/// The transpose of the HDPC sums: see [`Kernels::horner_transposed`](super::Kernels::horner_transposed).
///
/// # Safety
/// As for [`horner`].
#[inline(always)]
pub(super) unsafe fn horner_transposed<V: Vector>(horner: &Horner, slab: *mut u8, sums: *const u8, width: usize) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        for_columns!(width, |offset, part| horner_transposed_columns::<V, #>(horner, slab, sums, width, offset, part));
    }
}

#[inline(always)]
unsafe fn horner_transposed_columns<V: Vector, const N: usize, const PART: bool>(
    horner: &Horner,
    slab: *mut u8,
    sums: *const u8,
    width: usize,
    offset: usize,
    part: usize,
) {
    // SAFETY: every row has `width` bytes, of which those at `offset` are N registers or `part` bytes; Horner::new keeps all
    // pairs below `sums()`.
    unsafe {
        let sum = |row: usize| sums.add(row * width + offset);
        // The last column has α^row in every row.
        let mut value = [V::zero(); N];
        for row in (0..horner.sums()).rev() {
            double(&mut value);
            add(&mut value, load::<V, N, PART>(sum(row), part));
        }
        add_to::<V, N, PART>(slab.add(horner.pairs().len() * width + offset), value, part);
        for (column, &[one, other]) in horner.pairs().iter().enumerate().rev() {
            double(&mut value);
            add(&mut value, load::<V, N, PART>(sum(usize::from(one)), part));
            add(&mut value, load::<V, N, PART>(sum(usize::from(other)), part));
            add_to::<V, N, PART>(slab.add(column * width + offset), value, part);
        }
    }
}

/// `to[i] += sum of factors[k][i] · from[k]`: see [`Kernels::multiply`](super::Kernels::multiply).
///
/// # Safety
/// The CPU has the instruction set of `V`; `to` points to `factors.rows` rows of `from.width` bytes which are not in
/// `from`.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector>(to: *mut u8, factors: &Factors<'_>, from: &Rows<'_>) {
    let (width, lane) = (from.width, V::BYTES);
    let mut offset = 0;
    // SAFETY: passed on to the caller; the offsets stay below the width.
    unsafe {
        while width - offset >= 2 * lane {
            multiply_columns::<V, 2, false>(to, factors, from, offset, 0);
            offset += 2 * lane;
        }
        if width - offset >= lane {
            multiply_columns::<V, 1, false>(to, factors, from, offset, 0);
            offset += lane;
        }
        if width > offset {
            multiply_columns::<V, 1, true>(to, factors, from, offset, width - offset);
        }
    }
}

/// All rows of a product, in tiles of as many rows as there are registers for.
#[inline(always)]
unsafe fn multiply_columns<V: Vector, const N: usize, const PART: bool>(
    to: *mut u8,
    factors: &Factors<'_>,
    from: &Rows<'_>,
    offset: usize,
    part: usize,
) {
    let mut row = 0;
    // SAFETY: passed on to the caller; the tiles stay below `factors.rows`.
    unsafe {
        if V::MANY {
            while factors.rows - row >= 12 {
                tile::<V, 12, N, PART>(to, factors, from, row, offset, part);
                row += 12;
            }
            if factors.rows - row >= 8 {
                tile::<V, 8, N, PART>(to, factors, from, row, offset, part);
                row += 8;
            }
        }
        while factors.rows - row >= 4 {
            tile::<V, 4, N, PART>(to, factors, from, row, offset, part);
            row += 4;
        }
        while factors.rows > row {
            tile::<V, 1, N, PART>(to, factors, from, row, offset, part);
            row += 1;
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const N: usize, const PART: bool>(
    to: *mut u8,
    factors: &Factors<'_>,
    from: &Rows<'_>,
    row: usize,
    offset: usize,
    part: usize,
) {
    // SAFETY: rows `row..row + R` are rows of `to` and of the factors, whose slice Factors::new has measured, as Rows::new
    // has the rows of `from`.
    unsafe {
        let mut sums = [[V::zero(); N]; R];
        for (r, sum) in sums.iter_mut().enumerate() {
            *sum = load::<V, N, PART>(to.add((row + r) * from.width + offset), part);
        }
        let mut next = from.start().add(offset);
        let mut column = factors.bytes().add(row);
        for _ in 0..factors.columns / 2 {
            for line in (0..N * V::BYTES).step_by(CACHE_LINE) {
                V::prefetch(next.wrapping_add(ROWS_AHEAD * from.stride + line));
                V::prefetch(next.wrapping_add((ROWS_AHEAD + 1) * from.stride + line));
            }
            let value = prepare(load::<V, N, PART>(next, part));
            let value_after = prepare(load::<V, N, PART>(next.wrapping_add(from.stride), part));
            let column_after = column.wrapping_add(factors.stride);
            for (r, sum) in sums.iter_mut().enumerate() {
                let (factor, factor_after) = (V::factor(*column.add(r)), V::factor(*column_after.add(r)));
                for n in 0..N {
                    sum[n] = sum[n].xor3(V::multiply(value[n], factor), V::multiply(value_after[n], factor_after));
                }
            }
            next = next.wrapping_add(2 * from.stride);
            column = column_after.wrapping_add(factors.stride);
        }
        if !factors.columns.is_multiple_of(2) {
            let value = prepare(load::<V, N, PART>(next, part));
            for (r, sum) in sums.iter_mut().enumerate() {
                add_product(sum, &value, V::factor(*column.add(r)));
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            store::<V, N, PART>(sum, to.add((row + r) * from.width + offset), part);
        }
    }
}

/// `to = factor · to`: see [`Kernels::scale`](super::Kernels::scale).
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn scale<V: Vector>(to: &mut [u8], coefficient: u8) {
    // SAFETY: the offsets stay within the slice.
    unsafe {
        let (start, factor) = (to.as_mut_ptr(), V::factor(coefficient));
        for_columns!(to.len(), |offset, part| scale_columns::<V, #>(start.add(offset), factor, part));
    }
}

#[inline(always)]
unsafe fn scale_columns<V: Vector, const N: usize, const PART: bool>(to: *mut u8, factor: V::Factor, part: usize) {
    // SAFETY: `to` points to N registers or `part` bytes.
    unsafe {
        let mut product = [V::zero(); N];
        add_product(&mut product, &prepare(load::<V, N, PART>(to, part)), factor);
        store::<V, N, PART>(product, to, part);
    }
}

/// `to += factor · from`: see [`Kernels::add_scaled`](super::Kernels::add_scaled).
///
/// # Safety
/// The CPU has the instruction set of `V`, and the slices are equally long.
#[inline(always)]
pub(super) unsafe fn add_scaled<V: Vector>(to: &mut [u8], coefficient: u8, from: &[u8]) {
    // SAFETY: the offsets stay within both slices.
    unsafe {
        let (start, other, factor) = (to.as_mut_ptr(), from.as_ptr(), V::factor(coefficient));
        for_columns!(to.len(), |offset, part| add_scaled_columns::<V, #>(
            start.add(offset),
            factor,
            other.add(offset),
            part
        ));
    }
}

#[inline(always)]
unsafe fn add_scaled_columns<V: Vector, const N: usize, const PART: bool>(
    to: *mut u8,
    factor: V::Factor,
    from: *const u8,
    part: usize,
) {
    // SAFETY: both point to N registers or `part` bytes.
    unsafe {
        let mut sum = load::<V, N, PART>(to, part);
        add_product(&mut sum, &prepare(load::<V, N, PART>(from, part)), factor);
        store::<V, N, PART>(sum, to, part);
    }
}
