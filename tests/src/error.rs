//! What can go wrong in the lab, worded for the person who started it.

use std::io;
use std::time::Duration;

/// A failure of the lab itself or of a program that it ran.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The lab cannot be built as this user or on this machine.
    #[error("the network lab cannot be built here: {0}")]
    Unfit(String),
    /// A system call or a file operation failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted, to be read after "cannot".
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A tool such as `ip` ended with an error.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to standard error, trimmed.
        stderr: String,
    },
    /// A program printed something that is not what was agreed.
    #[error("{program} printed something unexpected: {line}")]
    Output {
        /// Which program.
        program: String,
        /// The offending line.
        line: String,
    },
    /// A fleetcast program ended although more was expected of it.
    #[error("{program} ended ({status}) while {awaited} was awaited; it last said: {stderr}")]
    Ended {
        /// Which program.
        program: String,
        /// Its exit status.
        status: String,
        /// What the caller was waiting for.
        awaited: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// Something did not happen in time.
    #[error("waited {} s in vain for {what}", waited.as_secs_f64())]
    Timeout {
        /// What was awaited.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// The loss program could not be loaded or attached.
    #[error("cannot {what} the loss program: {reason}")]
    LossProgram {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// SIGHUP, SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// Wraps an I/O error; `what` completes the sentence "cannot …".
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
