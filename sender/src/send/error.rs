//! Why a send did not end well, and the exit code for it.

use crate::affinity::AffinityError;
use crate::control::ControlError;
use crate::feedback::FeedbackError;
use crate::image::ImageError;
use crate::interface::InterfaceError;
use crate::pace::PaceError;
use crate::precompute::{FillError, PrecomputeError};
use crate::qdisc::PacingError;
use crate::send::resident::ResidentError;
use crate::transmit::ChooseError;
use fleetcast_cli::exit;
use fleetcast_protocol::channel::ChannelError;
use fleetcast_protocol::manifest::ManifestError;
use fleetcast_protocol::session::sender::SenderError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a send did not end well.
#[derive(Debug, Error)]
pub enum SendError {
    /// The manifest cannot be read.
    #[error("cannot read the manifest {path}: {source}; `fleetcast-send seal` makes one")]
    ReadManifest {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no manifest.
    #[error("{path} is no manifest: {source}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// The image cannot be sent.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The group, source and port make no channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The interface cannot be used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// No backend works here.
    #[error(transparent)]
    Backend(#[from] ChooseError),
    /// Threads cannot be pinned.
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    /// The session cannot be started.
    #[error(transparent)]
    Session(#[from] SenderError),
    /// The threads cannot be started.
    #[error(transparent)]
    Precompute(#[from] PrecomputeError),
    /// Sending stopped.
    #[error(transparent)]
    Pace(#[from] PaceError),
    /// The kernel cannot pace.
    #[error(transparent)]
    Pacing(#[from] PacingError),
    /// There is no control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Reports cannot be taken.
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
    /// A resident pass does not fit.
    #[error(transparent)]
    Resident(#[from] ResidentError),
    /// There is no memory for slots, or the kernel does not take it.
    #[error("cannot set up the memory that is sent from: {0}")]
    Memory(io::Error),
    /// There is no randomness for the TSI.
    #[error("cannot get randomness for the TSI: {0}; give one with --tsi")]
    Random(String),
    /// The repair server cannot be started.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// The report cannot be written.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    ReportFile(#[from] crate::fleet_report::FileError),
    /// Fewer devices hold the image than the operator demands.
    #[cfg(feature = "serve")]
    #[error(
        "{done} of {total} devices hold the image, --require demands {} %; the report says who does not; send again with the same \
         manifest and they continue where they were",
        f64::from(*.require_permyriad) / 100.0
    )]
    Required {
        /// Devices that hold it.
        done: u64,
        /// Devices in all.
        total: u64,
        /// How many in ten thousand must.
        require_permyriad: u32,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted; send again with the same manifest and receivers continue where they were")]
    Interrupted,
}

impl SendError {
    /// The exit code for this kind of failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Channel(_) | Self::Session(_) => exit::USAGE,
            Self::ReadManifest { .. }
            | Self::Interface(_)
            | Self::Backend(_)
            | Self::Affinity(_)
            | Self::Pacing(_)
            | Self::Control(_)
            | Self::Feedback(_)
            | Self::Resident(_)
            | Self::Memory(_) => exit::ENVIRONMENT,
            Self::Image(ImageError::Mismatch(_) | ImageError::Changed(_)) | Self::Manifest { .. } => exit::VERIFICATION,
            Self::Image(_) => exit::ENVIRONMENT,
            Self::Pace(PaceError::Precompute(PrecomputeError::Fill(FillError::Image(
                ImageError::Mismatch(_) | ImageError::Changed(_),
            )))) => exit::VERIFICATION,
            Self::Pace(PaceError::Precompute(PrecomputeError::Fill(FillError::Image(_)))) => exit::ENVIRONMENT,
            Self::Pace(PaceError::Transmit(_)) => exit::ENVIRONMENT,
            Self::Precompute(_) | Self::Pace(_) | Self::Random(_) => exit::UNEXPECTED,
            #[cfg(feature = "serve")]
            Self::Serve(_) | Self::ReportFile(_) => exit::ENVIRONMENT,
            #[cfg(feature = "serve")]
            Self::Required { .. } => exit::FLEET,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }
}
