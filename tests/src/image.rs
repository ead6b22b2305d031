//! Firmware images to send: pseudo-random ones for tests, a real one for the demo.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::LabError;
use crate::loss::mix;

const CHUNK: usize = 1 << 20;
const INSTALLER: &str = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64";

/// Writes a file of `len` bytes that depend on nothing but `seed`, and do not compress.
///
/// # Errors
/// When the file cannot be written.
pub fn write_pseudo_random(path: &Path, len: u64, seed: u64) -> Result<(), LabError> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(CHUNK, File::create(path)?);
        let words = (0..len.div_ceil(8)).map(|n| mix(mix(seed).wrapping_add(n)).to_le_bytes());
        let mut left = len;
        for word in words {
            let take = usize::try_from(left.min(8)).unwrap_or(8);
            file.write_all(word.get(..take).unwrap_or(&word))?;
            left -= left.min(8);
        }
        file.flush()
    };
    write().map_err(LabError::io(format!("write {}", path.display())))
}

/// Writes the demo's real image: kernel and initial RAM disk of Debian's installer one after the other, 49 MB.
///
/// # Errors
/// When the Debian package `debian-installer-12-netboot-amd64` is not installed, or the file cannot be written.
pub fn write_debian_installer(path: &Path) -> Result<(), LabError> {
    let mut image = File::create(path).map_err(LabError::io(format!("create {}", path.display())))?;
    for part in ["linux", "initrd.gz"] {
        let part: PathBuf = [INSTALLER, part].iter().collect();
        let shown = part.display();
        let what = format!("open {shown} (install debian-installer-12-netboot-amd64, or give another --image)");
        let mut part = File::open(&part).map_err(LabError::io(what))?;
        io::copy(&mut part, &mut image).map_err(LabError::io(format!("copy {shown}")))?;
    }
    Ok(())
}

/// The SHA-256 of a file, in lower-case hex.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path) -> Result<String, LabError> {
    let hash = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let len = file.read(&mut chunk)?;
            let Some(read) = chunk.get(..len).filter(|read| !read.is_empty()) else { break };
            hasher.update(read);
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    };
    hash().map_err(LabError::io(format!("read {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_content_depend_on_the_arguments_only() {
        let dir = tempfile::tempdir().unwrap();
        let made = |len, seed| {
            let path = dir.path().join("image");
            write_pseudo_random(&path, len, seed).unwrap();
            std::fs::read(path).unwrap()
        };
        let image = made(100_003, 1);
        assert_eq!(image.len(), 100_003);
        assert_eq!(image, made(100_003, 1));
        assert_ne!(image, made(100_003, 2));
        assert_eq!(made(99, 1), image[..99]);
        let zeros = image.iter().filter(|byte| **byte == 0).count();
        assert!((200..600).contains(&zeros), "{zeros} zero bytes of about 390");
    }

    #[test]
    fn sha256_of_abc() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(file.path()).unwrap(), expected);
        assert!(sha256(Path::new("/no/such/file")).is_err());
    }
}
