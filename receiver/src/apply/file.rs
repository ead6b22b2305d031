//! Policy `file`: the verified image gets its final name in one atomic step.

use super::ApplyError;
use crate::staging::Staging;
use crate::state::{folder_of, sync_folder_of};
use rustix::fs::Access;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes copied at a time across file systems.
const COPY_BYTES: usize = 1 << 20;

/// Puts the image that lies trimmed and synced in `staging`, with this SHA-256, under the name `out`.
///
/// Within one file system that is a rename. Across two, the image is copied to a temporary name beside `out`, synced,
/// compared and renamed: `out` never holds part of an image.
pub fn place(staging: &Staging, sha256: &[u8; 32], out: &Path) -> Result<(), ApplyError> {
    match fs::rename(staging.path(), out) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(staging.path(), sha256, out)?,
        Err(source) => return Err(place_error("rename the image to", out)(source)),
    }
    sync_folder_of(out).map_err(place_error("sync the folder of", out))
}

/// Whether a file could be put at `out`, as far as that can be told without doing it.
pub fn check_target(out: &Path) -> Result<(), ApplyError> {
    let error = |reason: String| ApplyError::Target { path: out.to_owned(), reason };
    if out.is_dir() || out.file_name().is_none() {
        return Err(error("it is a folder".to_owned()));
    }
    let folder = folder_of(out);
    if !folder.is_dir() {
        return Err(error(format!("there is no folder {}", folder.display())));
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(folder, wanted).map_err(|errno| error(format!("its folder is not writable ({errno})")))
}

fn place_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ApplyError + 'a {
    move |source| ApplyError::Place { what, path: path.to_owned(), source }
}

fn copy(staged: &Path, sha256: &[u8; 32], out: &Path) -> Result<(), ApplyError> {
    let temporary = temporary_beside(out);
    let result = copy_and_rename(staged, sha256, &temporary, out);
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// A name in the same folder that says whose it is; one receiver holds the state folder, so names do not clash.
fn temporary_beside(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.fleetcast-unverified"))
}

fn copy_and_rename(staged: &Path, sha256: &[u8; 32], temporary: &Path, out: &Path) -> Result<(), ApplyError> {
    let write_error = |source| place_error("copy the image to", temporary)(source);
    let mut source = File::open(staged).map_err(place_error("read", staged))?;
    let mut target = File::create(temporary).map_err(write_error)?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(place_error("read", staged))?;
        if count == 0 {
            break;
        }
        target.write_all(&buffer[..count]).map_err(write_error)?;
    }
    target.sync_all().map_err(write_error)?;
    if sha256_of(temporary).map_err(place_error("read back", temporary))? != *sha256 {
        return Err(ApplyError::Copy(out.to_owned()));
    }
    fs::rename(temporary, out).map_err(place_error("rename the image to", out))?;
    fs::remove_file(staged).map_err(place_error("remove", staged))
}

fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_cannot_be_is_found_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        for good in [folder.path().join("new"), file.clone(), "in-the-working-folder".into()] {
            check_target(&good).unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for (bad, reason) in [
            (folder.path().to_owned(), "it is a folder"),
            (PathBuf::from("/"), "it is a folder"),
            (folder.path().join("missing/new"), "there is no folder"),
            (file.join("new"), "there is no folder"),
        ] {
            let error = check_target(&bad).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("--out"), "{}: {error}", bad.display());
        }
    }
}
