//! The control socket: an operator changes the rate of a running send, asks how it does, or ends it.
//!
//! A Unix socket that only its owner can open, served by a thread of its own; the sending threads only see that the
//! [`Timeline`](crate::pace::Timeline) changed.

mod client;
mod command;
mod server;

pub use client::ask;
pub use command::{Command, CommandError, MAX_LINE};
pub use server::ControlSocket;

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Somebody listens there.
    #[error("{0} is the control socket of a sender that is running; give this one another --control")]
    InUse(PathBuf),
    /// It is a file of another kind.
    #[error("{0} exists and is no socket; give --control a path of its own")]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("cannot make the control socket {path}: {source}; its folder must exist and be writable")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody listens there, or the connection broke.
    #[error("cannot ask the sender at {path}: {source}; is it running with --control {}?", .path.display())]
    Ask {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sender refused.
    #[error("{0}")]
    Refused(String),
}
