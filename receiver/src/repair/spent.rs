//! What was fetched for an upgrade so far, so that a receiver that is restarted again and again keeps to its budget.
//!
//! It is written after each fetch and not synced: a power cut forgets some of it.

use crate::state::{StateError, replace};
use fleetcast_protocol::hex;
use std::fs;
use std::path::Path;

/// Bytes fetched for the manifest with `digest`, as noted at `path`; 0 when that is about another, or nothing.
pub fn read_spent(path: &Path, digest: &[u8; 32]) -> u64 {
    let noted = fs::read_to_string(path).unwrap_or_default();
    match noted.trim_end().split_once(' ') {
        Some((manifest, bytes)) if manifest == hex::encode(digest) => bytes.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Notes at `path` that `bytes` were fetched for the manifest with `digest`.
pub fn write_spent(path: &Path, digest: &[u8; 32], bytes: u64) -> Result<(), StateError> {
    replace(path, format!("{} {bytes}\n", hex::encode(digest)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_remembered_for_its_manifest_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fetched");
        assert_eq!(read_spent(&path, &[1; 32]), 0);
        write_spent(&path, &[1; 32], 5_000).unwrap();
        assert_eq!((read_spent(&path, &[1; 32]), read_spent(&path, &[2; 32])), (5_000, 0));
        write_spent(&path, &[1; 32], 7_000).unwrap();
        assert_eq!(read_spent(&path, &[1; 32]), 7_000);
        for damaged in ["", " ", "zz", "\u{fffd}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read_spent(&path, &[1; 32]), 0);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
