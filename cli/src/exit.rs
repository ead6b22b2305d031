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
/// Fewer devices hold the image than `--require` demands.
pub const FLEET: u8 = 8;
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
            eprintln!("error: {}", message(&error));
            ExitCode::from(code)
        }
    }
}

/// The error and its causes on one line. Typed errors name their cause themselves; it is not said twice.
fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        _ if text.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open fw.bin: {0}")]
    struct Typed(#[source] io::Error);

    #[test]
    fn causes_are_said_once() {
        let typed = anyhow::Error::from(Typed(io::Error::other("no disk")));
        assert_eq!(message(&typed), "cannot open fw.bin: no disk");
        let context = Err::<(), _>(io::Error::other("no disk")).context("cannot write").unwrap_err();
        assert_eq!(message(&context), "cannot write: no disk");
    }
}
