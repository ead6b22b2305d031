//! Stopping in order: SIGINT and SIGTERM set a flag that the programs look at.

use crate::exit::{Failure, UNEXPECTED};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag that is set once the program is asked to stop.
pub fn on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| Failure::new(UNEXPECTED, error))?;
    }
    Ok(stop)
}
