//! Exit codes of both binaries: by kind of failure, so that scripts can tell what to do.

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
