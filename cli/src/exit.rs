//! Exit codes of both binaries: by kind of failure, so that scripts can tell what to do.

use std::process::ExitCode;

/// Done.
pub const DONE: u8 = 0;
/// Something nobody foresaw.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The environment is not fit: interface, permission, disk, state folder in use.
pub const ENVIRONMENT: u8 = 3;
/// Not trusted: signature, product, hardware, rollback, expiry.
pub const REFUSED: u8 = 4;
/// No progress for the time given by `--timeout`.
pub const TIMEOUT: u8 = 5;
/// The image does not have the promised content.
pub const VERIFICATION: u8 = 6;
/// The verified image could not be applied.
pub const APPLY: u8 = 7;
/// Stopped by SIGINT or SIGTERM.
pub const INTERRUPTED: u8 = 130;

/// An exit code and the error that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// One of the codes above.
    pub code: u8,
    /// What went wrong, with its context.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with this code.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }
}

/// Ends a program: prints the error, if there is one, and gives the exit code.
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(DONE),
        Err(Failure { code, error }) => {
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}
