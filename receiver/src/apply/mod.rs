//! What happens to an image once it is verified: the second stage, a policy.
//!
//! The first stage ended with a whole, synced, verified staging file. A policy either finishes or changes nothing that
//! matters: the final name always holds the old image or the new one.

mod exec;
mod file;

use crate::staging::{Staging, StagingError};
use crate::state::State;
use fleetcast_protocol::manifest::SignedManifest;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

/// The policy asked for with `--apply`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apply {
    /// Keep the verified image in the state folder.
    None,
    /// Rename it to the final name.
    File,
    /// Run this shell command with the documented environment.
    Exec(String),
}

impl Apply {
    /// The policy's name in events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::File => "file",
            Self::Exec(_) => "exec",
        }
    }
}

impl FromStr for Apply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "file" => Ok(Self::File),
            Some(("exec", command)) if !command.trim().is_empty() => Ok(Self::Exec(command.to_owned())),
            _ => Err(format!("there is no policy '{text}'; choose none, file or exec:COMMAND")),
        }
    }
}

/// Why a verified image was not applied. The image stays in staging.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The image could not be put under its final name, and that was found before anything was received.
    #[error("cannot put an image at {path}: {reason}; give another --out, or make its folder writable")]
    Target {
        /// The final name.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Staging failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The image could not be put under its final name.
    #[error("cannot {what} {path}: {source}; the verified image is still in the state folder")]
    Place {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A copy to another file system has other content than what was verified.
    #[error("the copy to {0} does not have the verified content; the medium may be failing")]
    Copy(PathBuf),
    /// A file that nobody signed has no name that could be a file's.
    #[error("the FDT names the file {0:?}, which is no plain file name; give one with --out")]
    NoName(String),
    /// A file that nobody signed would replace another one by a name of its sender's choice.
    #[error("{0} exists, and a file that nobody signed replaces it only when asked to; give its name with --out")]
    Exists(PathBuf),
    /// The hook could not be started.
    #[error("cannot run the hook '{command}': {source}")]
    Spawn {
        /// The command.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The hook failed.
    #[error("the hook '{command}' failed: {status}; the verified image is still in the state folder")]
    Hook {
        /// The command.
        command: String,
        /// Its exit status.
        status: String,
    },
}

/// Looks, before anything is received, whether a verified image could be put where it is wanted.
pub fn check_target(policy: &Apply, out: Option<&Path>) -> Result<(), ApplyError> {
    match (policy, out) {
        (Apply::None, _) | (Apply::Exec(_), None) => Ok(()),
        (Apply::File, None) => file::check_target(Path::new("image")),
        (Apply::File | Apply::Exec(_), Some(out)) => file::check_target(out),
    }
}

/// Applies the verified image in `staging`, and returns where it is now, if it is still anywhere that we know of.
pub fn apply(
    policy: &Apply,
    out: Option<&Path>,
    manifest: &SignedManifest,
    staging: &Staging,
    state: &State,
) -> Result<Option<PathBuf>, ApplyError> {
    staging.trim()?;
    let sha256 = &manifest.manifest().image_sha256;
    let place = |path: PathBuf| file::place(staging, sha256, &path).map(|()| path);
    match (policy, out) {
        (Apply::None, _) => Ok(Some(place(state.verified_path())?)),
        (Apply::File, Some(out)) => Ok(Some(place(out.to_owned())?)),
        (Apply::File, None) => Ok(Some(place(PathBuf::from(&manifest.manifest().name))?)),
        (Apply::Exec(command), out) => {
            exec::run(command, staging.path(), manifest)?;
            // The final name changes only once the hook has said yes; the hook may have moved the image elsewhere.
            match out {
                Some(out) if staging.path().exists() => Ok(Some(place(out.to_owned())?)),
                _ => Ok(None),
            }
        }
    }
}

/// Puts a file that nobody signed, trimmed and with this SHA-256, under the name `out`. No hook ever runs for one.
pub fn apply_unsigned(staging: &Staging, sha256: &[u8; 32], out: &Path) -> Result<(), ApplyError> {
    file::place(staging, sha256, out)
}
