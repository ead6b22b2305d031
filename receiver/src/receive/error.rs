//! Why a receiver ended without success, and which exit code that is.

use crate::apply::ApplyError;
use crate::checker::CheckError;
use crate::filter::Unavailable;
use crate::ingest::SocketError;
use crate::journal::JournalError;
use crate::staging::StagingError;
use crate::state::StateError;
use fleetcast_cli::exit;
use std::io;
use thiserror::Error;

/// Why a receiver ended without success.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// No packets can be received.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The source filter that was asked for cannot be had.
    #[error(transparent)]
    Filter(#[from] Unavailable),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Staging failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A block could not be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The image was verified and could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// What was read back is not what was promised.
    #[error(
        "the image read back from staging has SHA-256 {found} where the manifest says {expected}; the medium may be failing"
    )]
    ReadBack {
        /// SHA-256 found, in hex.
        found: String,
        /// SHA-256 of the manifest, in hex.
        expected: String,
    },
    /// A file that nobody signed does not have the MD5 that its FDT gives.
    #[error(
        "the file received has MD5 {found} where the FDT says {expected}; a symbol was forged, or the sender is wrong"
    )]
    Md5 {
        /// MD5 found, in hex.
        found: String,
        /// MD5 of the FDT, in hex.
        expected: String,
    },
    /// Nothing acceptable came in time, and something came that was refused.
    #[error("no acceptable {description} within {seconds} s; the last one heard was refused: {reason}")]
    Refused {
        /// What was waited for: a manifest, or an FDT.
        description: &'static str,
        /// The time-out in seconds.
        seconds: f64,
        /// Why.
        reason: String,
    },
    /// Nothing came in time.
    #[error(
        "no progress for {seconds} s ({state}); is the sender sending, and does the network carry {channel} to this interface?"
    )]
    Timeout {
        /// The time-out in seconds.
        seconds: f64,
        /// How far it was.
        state: String,
        /// The channel.
        channel: String,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted; run the same command again to continue")]
    Interrupted,
    /// The kernel failed us.
    #[error("the receiver cannot go on: {0}")]
    Kernel(#[from] io::Error),
}

impl ReceiveError {
    /// The exit code for this kind of failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Socket(_) | Self::Filter(_) | Self::State(_) | Self::Staging(_) | Self::Journal(_) => {
                exit::ENVIRONMENT
            }
            Self::Check(CheckError::Staging(_)) => exit::ENVIRONMENT,
            Self::Check(CheckError::Decode(_)) | Self::Kernel(_) => exit::UNEXPECTED,
            Self::Apply(ApplyError::Target { .. }) => exit::ENVIRONMENT,
            Self::Apply(_) => exit::APPLY,
            Self::ReadBack { .. } | Self::Md5 { .. } => exit::VERIFICATION,
            Self::Refused { .. } => exit::REFUSED,
            Self::Timeout { .. } => exit::TIMEOUT,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }

    /// The word for it in the summary.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Interrupted => "interrupted",
            _ => "failed",
        }
    }
}
