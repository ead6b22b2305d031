//! The image, mapped into memory: read once by the kernel, copied once, by a worker, into the slot that is sent.

use fleetcast_protocol::manifest::ImageMismatch;
use fleetcast_protocol::partition::BlockRange;
use memmap2::{Advice, Mmap};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the image cannot be sent.
#[derive(Debug, Error)]
pub enum ImageError {
    /// It cannot be opened or mapped.
    #[error("cannot map the image {path}: {source}")]
    Map {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("the image {0} is not a regular file; copy it into one")]
    NotAFile(PathBuf),
    /// It was changed, replaced or truncated after it was opened.
    #[error("the image {0} was changed while it was being sent; seal the new one and send it as a new release")]
    Changed(PathBuf),
    /// It is not what the manifest describes.
    #[error(transparent)]
    Mismatch(#[from] ImageMismatch),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified_s: metadata.mtime(), modified_ns: metadata.mtime_nsec() }
    }
}

/// A mapped image.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    map: Mmap,
    stamp: Stamp,
}

impl Image {
    /// Maps the file at `path`. An empty one is mapped as empty; the partition refuses it.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let error = |source| ImageError::Map { path: path.to_owned(), source };
        let file = File::open(path).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile(path.to_owned()));
        }
        // SAFETY: the map is only read, as plain bytes that are hashed before they count. Another process could change
        // or truncate the file meanwhile: `check_unchanged` is called before each window is read, and what is read of a
        // changed file fails its block's hash, here or at the receiver.
        let map = unsafe { Mmap::map(&file) }.map_err(error)?;
        // Advice only; a kernel that does not take it reads ahead a little less.
        let _ = map.advise(Advice::Sequential);
        Ok(Self { path: path.to_owned(), file, map, stamp: Stamp::of(&metadata) })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The bytes of one block; empty when the image is shorter than the partition says.
    pub fn block(&self, range: &BlockRange) -> &[u8] {
        let start = usize::try_from(range.offset).unwrap_or(usize::MAX);
        start.checked_add(range.len).and_then(|end| self.map.get(start..end)).unwrap_or(&[])
    }

    /// Looks whether the file is still the one that was mapped, before more of it is read.
    pub fn check_unchanged(&self) -> Result<(), ImageError> {
        let metadata = self.file.metadata().map_err(|source| ImageError::Map { path: self.path.clone(), source })?;
        if Stamp::of(&metadata) == self.stamp { Ok(()) } else { Err(ImageError::Changed(self.path.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::partition::Partition;
    use std::fs;

    #[test]
    fn maps_blocks_and_notices_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        fs::write(&path, [7; 1000]).unwrap();
        let image = Image::open(&path).unwrap();
        let partition = Partition::new(1000, 64, 3).unwrap();
        let bytes: Vec<u8> = partition.iter().flat_map(|range| image.block(&range).to_vec()).collect();
        assert_eq!(bytes, [7; 1000]);
        let longer = Partition::new(1001, 64, 1).unwrap();
        assert_eq!(image.block(&longer.block(0).unwrap()), [0; 0]);
        image.check_unchanged().unwrap();
        fs::write(&path, [8; 1001]).unwrap();
        assert!(matches!(image.check_unchanged(), Err(ImageError::Changed(_))));
    }

    #[test]
    fn refuses_what_is_no_file() {
        assert!(matches!(Image::open(Path::new("/")), Err(ImageError::NotAFile(_))));
        assert!(matches!(Image::open(Path::new("/nonexistent")), Err(ImageError::Map { .. })));
    }
}
