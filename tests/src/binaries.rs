//! The programs under test.

use std::env;
use std::path::{Path, PathBuf};

use crate::LabError;

/// Where `fleetcast-send` and `fleetcast-recv` are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The sender.
    pub send: PathBuf,
    /// The receiver.
    pub recv: PathBuf,
}

impl Binaries {
    /// Those that were built together with the running program: cargo puts all of a workspace into one folder, and tests
    /// into its sub-folder `deps`.
    ///
    /// # Errors
    /// When they have not been built.
    pub fn beside_this_program() -> Result<Self, LabError> {
        let program = env::current_exe().map_err(LabError::io("find the running program"))?;
        let folder = program.parent().unwrap_or(Path::new("."));
        let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
        Self::in_folder(folder)
    }

    /// Those in a folder.
    ///
    /// # Errors
    /// When one is missing.
    pub fn in_folder(folder: &Path) -> Result<Self, LabError> {
        let binaries = Self { send: folder.join("fleetcast-send"), recv: folder.join("fleetcast-recv") };
        for path in [&binaries.send, &binaries.recv] {
            if !path.is_file() {
                let hint = "run `cargo build --workspace` first (with --release for a release build)";
                return Err(LabError::Unfit(format!("{} does not exist: {hint}", path.display())));
            }
        }
        Ok(binaries)
    }
}
