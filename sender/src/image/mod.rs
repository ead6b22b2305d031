//! The image, mapped into memory: read once by the kernel, copied once, by a worker, into the slot that is sent.
//!
//! Nothing keeps other programs from writing to the file or truncating it meanwhile. So whoever reads the map asks for
//! the file's [`State`] before and after: if both are the same, what was read is what was there when it was hashed.

mod guard;

use fleetcast_protocol::manifest::ImageMismatch;
use fleetcast_protocol::partition::BlockRange;
use guard::Guard;
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
    /// It was changed or truncated after it was opened.
    #[error(
        "the image {0} was changed while it was being read; put the sealed one back and go on with it, \
         or seal the new one as a new release"
    )]
    Changed(PathBuf),
    /// It is as long as it was, and parts of it cannot be read.
    #[error(
        "the image {0} cannot be read any more: its medium fails, or was taken away; copy the image to another one"
    )]
    Unreadable(PathBuf),
    /// It is not what the manifest describes.
    #[error(transparent)]
    Mismatch(#[from] ImageMismatch),
}

/// What tells one state of a file from another. The kernel sets both times before it changes a byte, and no program can set
/// the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    len: u64,
    modified: (i64, i64),
    /// Changes with the content and with all else about the file, its names among it.
    touched: (i64, i64),
}

impl State {
    /// The state of an open file.
    pub fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::of(&metadata))
    }

    /// Whether length and time of modification are the same. Someone may have changed the content and set the time back.
    pub fn may_have_the_content_of(&self, other: &Self) -> bool {
        (self.len, self.modified) == (other.len, other.modified)
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            touched: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A mapped image.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    /// Dropped before the map.
    guard: Guard,
    map: Mmap,
    opened: State,
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
        // SAFETY: the map is only read, as plain bytes. Another process can change or truncate the file meanwhile: bytes count
        // only once `state` has said after reading them that it did not, and the guard lives as long as the map, so that
        // reading behind the end of a truncated file gives zeros.
        let map = unsafe { Mmap::map(&file) }.map_err(error)?;
        let guard = Guard::new(&map).map_err(error)?;
        // Advice only; a kernel that does not take it reads ahead a little less.
        let _ = map.advise(Advice::Sequential);
        Ok(Self { path: path.to_owned(), file, guard, map, opened: State::of(&metadata) })
    }

    /// Another handle of the file that is mapped, whatever its name is for now.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
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

    /// The state of the file when it was opened.
    pub fn opened(&self) -> State {
        self.opened
    }

    /// The state of the file now; an error when its length or time of modification are others than when it was opened, or
    /// what was read of it so far may be wrong.
    ///
    /// A state other than [`opened`](Self::opened) is one in which something was done to the file: it got another name or
    /// mode, or its content was changed and its time set back. Compare hashes again.
    pub fn state(&self) -> Result<State, ImageError> {
        let is_lost = self.guard.is_lost();
        let metadata = self.file.metadata().map_err(|source| ImageError::Map { path: self.path.clone(), source })?;
        let state = State::of(&metadata);
        if !state.may_have_the_content_of(&self.opened) {
            return Err(ImageError::Changed(self.path.clone()));
        }
        if is_lost { Err(ImageError::Unreadable(self.path.clone())) } else { Ok(state) }
    }

    /// An error when anything was done to the file since it was opened, or it could not be read.
    pub fn check_unchanged(&self) -> Result<(), ImageError> {
        if self.state()? == self.opened { Ok(()) } else { Err(ImageError::Changed(self.path.clone())) }
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
    fn a_truncated_image_is_changed_whether_it_was_read_or_not() {
        for left in [0, 4096] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("image");
            fs::write(&path, vec![7; 20_000]).unwrap();
            let image = Image::open(&path).unwrap();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap();
            assert!(matches!(image.state(), Err(ImageError::Changed(_))));
            assert_eq!(image.bytes()[4096..], [0; 20_000 - 4096]);
            assert!(matches!(image.state(), Err(ImageError::Changed(_))));
        }
    }

    #[test]
    fn another_name_or_mode_is_no_change_but_a_reason_to_look() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["image", "other"].map(|name| folder.path().join(name));
        fs::write(&path, [7; 1000]).unwrap();
        // The kernel's clock for files is coarse.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let image = Image::open(&path).unwrap();
        assert_eq!(image.state().unwrap(), image.opened());
        fs::write(&other, [8; 1000]).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(image.state().unwrap(), image.opened());
        assert_eq!(image.bytes(), [7; 1000], "the map is of the old file");
        assert!(matches!(image.check_unchanged(), Err(ImageError::Changed(_))));
    }

    #[test]
    fn refuses_what_is_no_file() {
        assert!(matches!(Image::open(Path::new("/")), Err(ImageError::NotAFile(_))));
        assert!(matches!(Image::open(Path::new("/nonexistent")), Err(ImageError::Map { .. })));
    }
}
