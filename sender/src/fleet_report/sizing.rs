//! Repair sized from what the last send's devices reported.

use fleetcast_protocol::fleet::repair_for_loss;
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The last report cannot be used.
#[derive(Debug, Error)]
pub enum SizingError {
    /// It cannot be read.
    #[error("cannot read the last report {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is none.
    #[error("{path} is no report of a send: {source}; give a share with --repair, or another file with --report")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

#[derive(Debug, Deserialize)]
struct LastReport {
    loss_ppm: LastLoss,
}

#[derive(Debug, Deserialize)]
struct LastLoss {
    p95: Option<u32>,
}

/// How much repair, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// The loss that 95 % of the devices did not exceed, in parts per million.
    pub loss_ppm: u32,
    /// Planned repair in hundredths of a percent of the source symbols.
    pub permyriad: u32,
}

impl Sizing {
    /// From the report at `path`; `None` when there is none yet, or no device told its loss.
    ///
    /// # Errors
    /// When the file cannot be read as a report.
    pub fn from_report(path: &Path) -> Result<Option<Self>, SizingError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SizingError::Read { path: path.to_owned(), source }),
            Ok(text) => text,
        };
        let report: LastReport =
            serde_json::from_str(&text).map_err(|source| SizingError::Parse { path: path.to_owned(), source })?;
        Ok(report.loss_ppm.p95.map(|loss_ppm| Self { loss_ppm, permyriad: repair_for_loss(loss_ppm) }))
    }
}
