//! A run's own folder in the temporary folder, removed with everything in it.

use std::path::{Path, PathBuf};
use std::process;

use tempfile::TempDir;

use crate::LabError;

/// How the names of scratch folders begin; a pid and a random part follow.
pub const PREFIX: &str = "fleetcast-lab-";

/// A folder that is removed on drop. A killed run's folder is removed by the next lab (see [`crate::sweep`]).
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes an empty one.
    ///
    /// # Errors
    /// When the temporary folder is not writable.
    pub fn new() -> Result<Self, LabError> {
        tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", process::id()))
            .tempdir()
            .map(Self)
            .map_err(LabError::io("make a folder in the temporary folder (set TMPDIR to another one)"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of something inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}
