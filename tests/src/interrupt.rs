//! Ctrl-C as a value: waits end with an error, so that everything is dropped and cleaned on the way out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::LabError;

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGHUP, SIGINT and SIGTERM no longer kill this process but make every wait of the lab fail.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch() -> io::Result<()> {
    let requested = REQUESTED.get_or_init(Arc::default);
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(requested))?;
    }
    Ok(())
}

/// Fails once an interrupt has arrived.
///
/// # Errors
/// [`LabError::Interrupted`].
pub fn check() -> Result<(), LabError> {
    match REQUESTED.get() {
        Some(requested) if requested.load(Ordering::Relaxed) => Err(LabError::Interrupted),
        _ => Ok(()),
    }
}
