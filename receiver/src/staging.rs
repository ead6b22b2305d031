//! The staging area: one file in which the image comes together, symbol by symbol.
//!
//! Source symbols are written straight to their place and repair symbols to the holes (see
//! [`StagingLayout`]), so the receiver's memory does not grow with the image. Nothing here has the image's final name.

use fleetcast_protocol::partition::BlockRange;
use fleetcast_protocol::session::receiver::{SPILL_ROWS, StagingLayout};
use rustix::fs::{Advice, FallocateFlags};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes read at a time when the image is read back.
const READ_BACK_BYTES: usize = 256 << 10;

/// Bytes reserved at a time: a few milliseconds even where every page is cleared.
const RESERVE_STEP_BYTES: u64 = 8 << 20;
/// `f_type` of a RAM disk (linux/magic.h).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
/// Symbols of one write at most: the kernel takes 1,024 pieces.
const SYMBOLS_PER_WRITE: usize = 1024;

/// Why staging failed.
#[derive(Debug, Error)]
pub enum StagingError {
    /// There is not enough room.
    #[error(
        "no room for {need} bytes of staging at {path}: {source}; free some space, or give another folder with --state"
    )]
    Full {
        /// The staging file.
        path: PathBuf,
        /// Bytes needed.
        need: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("cannot {what} the staging file {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The staging file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An open staging area. Reads and writes go to given offsets, so threads share it.
#[derive(Debug)]
pub struct Staging {
    file: File,
    path: PathBuf,
    layout: StagingLayout,
}

impl Staging {
    /// Opens the staging file at `path`, or makes it. What it holds already is kept.
    pub fn open(path: &Path, layout: StagingLayout) -> Result<Self, StagingError> {
        let error = |source| StagingError::Io { what: "open", path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(error)?;
        let staging = Self { file, path: path.to_owned(), layout };
        staging.file.set_len(staging.layout.len()).map_err(|source| staging.error("size", source))?;
        Ok(staging)
    }

    /// Reserves the whole area, so that a full disk is found at the start and not at the last symbol.
    ///
    /// Some file systems take long for that, so it is done in steps and beside receiving: symbols may be written
    /// meanwhile. A RAM disk would clear every page, and hold up the symbols that are about to fill them: there the room
    /// is only looked at.
    pub fn reserve(&self) -> Result<(), StagingError> {
        let file_system = rustix::fs::fstatfs(&self.file).map_err(|errno| self.error("ask about", errno.into()))?;
        if file_system.f_type == TMPFS_MAGIC {
            let free = file_system.f_bavail.saturating_mul(u64::try_from(file_system.f_bsize).unwrap_or(1));
            let held = self.file.metadata().map_err(|source| self.error("ask about", source))?.blocks() * 512;
            let room = free.saturating_add(held) >= self.layout.len();
            return if room { Ok(()) } else { Err(self.error("reserve", io::ErrorKind::StorageFull.into())) };
        }
        let mut offset = 0;
        while offset < self.layout.len() {
            let step = RESERVE_STEP_BYTES.min(self.layout.len() - offset);
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, step) {
                Ok(()) => offset += step,
                Err(rustix::io::Errno::INTR) => {}
                // Some file systems cannot reserve; then the file is sparse and a full disk shows when it is written.
                Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                Err(errno) => return Err(self.error("reserve", errno.into())),
            }
        }
        Ok(())
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is laid out.
    pub fn layout(&self) -> &StagingLayout {
        &self.layout
    }

    fn error(&self, what: &'static str, source: io::Error) -> StagingError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StagingError::Full { path: self.path.clone(), need: self.layout.len(), source }
            }
            _ => StagingError::Io { what, path: self.path.clone(), source },
        }
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StagingError> {
        self.file.read_exact_at(bytes, offset).map_err(|source| self.error("read", source))
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StagingError> {
        self.file.write_all_at(bytes, offset).map_err(|source| self.error("write", source))
    }

    /// Copies a symbol from one row to another, and returns it.
    pub fn relocate(&self, from: u64, to: u64) -> Result<Vec<u8>, StagingError> {
        let mut symbol = vec![0; self.symbol_size()];
        self.read(&mut symbol, from)?;
        self.write(&symbol, to)?;
        Ok(symbol)
    }

    /// Writes symbols to their places and empties `symbols`, in as few system calls as there are runs of neighbours.
    pub fn store(&self, symbols: &mut Vec<(u64, &[u8])>) -> Result<(), StagingError> {
        symbols.sort_unstable_by_key(|(offset, _)| *offset);
        let symbol_size = self.symbol_size();
        let neighbours = |(before, symbol): &(u64, &[u8]), (after, _): &(u64, &[u8])| {
            symbol.len() == symbol_size && before + symbol_size as u64 == *after
        };
        for run in symbols.chunk_by(neighbours) {
            for part in run.chunks(SYMBOLS_PER_WRITE) {
                self.write_run(part)?;
            }
        }
        symbols.clear();
        Ok(())
    }

    /// Writes symbols that lie one after the other; only the last one may be short, and what it lacks counts as zeros.
    fn write_run(&self, run: &[(u64, &[u8])]) -> Result<(), StagingError> {
        let (Some((start, _)), Some((last_offset, last))) = (run.first(), run.last()) else { return Ok(()) };
        let slices: Vec<IoSlice<'_>> = run.iter().map(|(_, symbol)| IoSlice::new(symbol)).collect();
        let all: usize = run.iter().map(|(_, symbol)| symbol.len()).sum();
        let written = if slices.len() == 1 { 0 } else { self.write_some(&slices, *start)? };
        if written < all {
            // One symbol, or a write that was cut short, as by a signal or a filling disk: the rest one by one.
            let untouched = start + written as u64;
            for (offset, symbol) in run.iter().filter(|(offset, symbol)| offset + symbol.len() as u64 > untouched) {
                self.write(symbol, *offset)?;
            }
        }
        match self.symbol_size().saturating_sub(last.len()) {
            0 => Ok(()),
            padding => self.write(&vec![0; padding], last_offset + last.len() as u64),
        }
    }

    fn write_some(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<usize, StagingError> {
        match rustix::io::pwritev(&self.file, slices, offset) {
            Ok(written) => Ok(written),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(errno) => Err(self.error("write", errno.into())),
        }
    }

    fn symbol_size(&self) -> usize {
        usize::from(self.layout.partition().symbol_size())
    }

    /// Reads all rows of `block`, its own and its spill rows, into `rows`, which is resized to fit.
    pub fn read_rows(&self, block: &BlockRange, rows: &mut Vec<u8>) -> Result<(), StagingError> {
        let block_len = block.shape.len();
        rows.resize(block_len + SPILL_ROWS as usize * block.shape.symbol_size(), 0);
        let (own, spill) = rows.split_at_mut(block_len);
        self.read(own, block.offset)?;
        self.read(spill, self.layout.spill_offset(block))
    }

    /// Reads the bytes of the image that lie in `block` into `bytes`, which is resized to fit.
    pub fn read_block(&self, block: &BlockRange, bytes: &mut Vec<u8>) -> Result<(), StagingError> {
        bytes.resize(block.len, 0);
        self.read(bytes, block.offset)
    }

    /// Writes back the rows of `block` that were decoded.
    pub fn write_rows(
        &self,
        block: &BlockRange,
        rows: &[u8],
        decoded: impl IntoIterator<Item = u32>,
    ) -> Result<(), StagingError> {
        let symbol_size = block.shape.symbol_size();
        for row in decoded {
            let start = row as usize * symbol_size;
            self.write(&rows[start..start + symbol_size], self.layout.row_offset(block, row))?;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub fn sync_data(&self) -> Result<(), StagingError> {
        self.file.sync_data().map_err(|source| self.error("sync", source))
    }

    /// Reads what the image has in `block`, from the medium where the kernel lets go of its cache, and adds it to `hash`.
    pub fn read_back(&self, block: &BlockRange, hash: &mut Sha256) -> Result<(), StagingError> {
        let len = u64::try_from(block.len).unwrap_or(u64::MAX);
        // Advice only: where the cache stays, the check is of the cache, as it is for any reader after us.
        let _ = rustix::fs::fadvise(&self.file, block.offset, NonZeroU64::new(len), Advice::DontNeed);
        let mut buffer = vec![0; READ_BACK_BYTES.min(block.len)];
        let mut done = 0;
        while done < block.len {
            let chunk_len = buffer.len().min(block.len - done);
            let chunk = &mut buffer[..chunk_len];
            self.read(chunk, block.offset + done as u64)?;
            hash.update(&*chunk);
            done += chunk_len;
        }
        Ok(())
    }

    /// Cuts off padding and spill rows: the file is then the image and nothing else.
    pub fn trim(&self) -> Result<(), StagingError> {
        let image_len = self.layout.partition().image_len();
        self.file.set_len(image_len).and_then(|()| self.file.sync_all()).map_err(|source| self.error("trim", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::partition::Partition;

    fn staging(folder: &tempfile::TempDir) -> Staging {
        let layout = StagingLayout::new(Partition::new(1000, 64, 2).unwrap());
        Staging::open(&folder.path().join("staging"), layout).unwrap()
    }

    #[test]
    fn keeps_what_was_there_and_reserves_the_whole_area() {
        let folder = tempfile::tempdir().unwrap();
        staging(&folder).store(&mut vec![(64, &[7; 64][..])]).unwrap();
        let staging = staging(&folder);
        staging.reserve().unwrap();
        let metadata = std::fs::metadata(staging.path()).unwrap();
        assert_eq!(metadata.len(), staging.layout().len());
        let on_disk = rustix::fs::fstatfs(&staging.file).unwrap().f_type != TMPFS_MAGIC;
        assert!(!on_disk || metadata.blocks() * 512 >= staging.layout().len());
        let block = staging.layout().partition().block(0).unwrap();
        let mut bytes = Vec::new();
        staging.read_block(&block, &mut bytes).unwrap();
        assert_eq!(bytes[64..128], [7; 64]);
    }

    #[test]
    fn relocates_before_it_stores_and_pads_a_short_symbol() {
        let folder = tempfile::tempdir().unwrap();
        let staging = staging(&folder);
        let block = staging.layout().partition().block(0).unwrap();
        let spill = staging.layout().spill_offset(&block);
        staging.store(&mut vec![(128, &[1; 64][..])]).unwrap();
        staging.relocate(128, spill).unwrap();
        staging.store(&mut vec![(128, &[2; 10][..])]).unwrap();
        let mut rows = Vec::new();
        staging.read_rows(&block, &mut rows).unwrap();
        assert_eq!(rows[128..138], [2; 10]);
        assert_eq!(rows[138..192], [0; 54]);
        assert_eq!(rows[block.shape.len()..][..64], [1; 64]);
    }

    #[test]
    fn stores_runs_and_single_symbols_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let staging = staging(&folder);
        let symbols: Vec<Vec<u8>> = (0..16u8).map(|n| vec![n + 1; 64]).collect();
        let order = [3, 2, 9, 0, 1, 7, 8, 15, 12];
        let mut pending: Vec<(u64, &[u8])> = order.iter().map(|&n| (n as u64 * 64, &symbols[n][..])).collect();
        // The image's last symbol may come short, in the middle of a batch.
        pending[7].1 = &symbols[15][..40];
        staging.store(&mut pending).unwrap();
        assert!(pending.is_empty());
        let stored = std::fs::read(staging.path()).unwrap();
        for (n, symbol) in symbols.iter().enumerate() {
            let expected = match (n, order.contains(&n)) {
                (15, _) => [vec![16; 40], vec![0; 24]].concat(),
                (_, true) => symbol.clone(),
                (_, false) => vec![0; 64],
            };
            assert_eq!(stored[n * 64..][..64], expected, "symbol {n}");
        }
    }

    #[test]
    fn reads_back_the_image_and_not_its_padding() {
        let folder = tempfile::tempdir().unwrap();
        let staging = staging(&folder);
        let image: Vec<u8> = (0..1000u32).map(|n| n.to_le_bytes()[0]).collect();
        staging.write(&image, 0).unwrap();
        staging.write(&[0xFF; 24], 1000).unwrap();
        let mut hash = Sha256::new();
        for block in staging.layout().partition().iter() {
            staging.read_back(&block, &mut hash).unwrap();
        }
        assert_eq!(<[u8; 32]>::from(hash.finalize()), <[u8; 32]>::from(Sha256::digest(&image)));
        staging.trim().unwrap();
        assert_eq!(std::fs::read(staging.path()).unwrap(), image);
    }

    #[test]
    fn says_where_there_is_no_room() {
        let layout = StagingLayout::new(Partition::new(1000, 64, 2).unwrap());
        let error = Staging::open(Path::new("/nonexistent/staging"), layout).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/staging"), "{error}");
        let huge = StagingLayout::new(Partition::plan(900_000_000_000, 65_528, 2000).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("staging");
        let error = Staging::open(&path, huge).and_then(|staging| staging.reserve()).unwrap_err();
        assert!(error.to_string().contains("900"), "{error}");
    }
}
