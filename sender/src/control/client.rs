//! The other end: asks a running sender.

use super::ControlError;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A sender answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends one command to the sender that listens at `path`; returns its answer.
pub fn ask(path: &Path, command: &str) -> Result<Value, ControlError> {
    let error = |source| ControlError::Ask { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(error)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(error)?;
    stream.write_all(format!("{command}\n").as_bytes()).map_err(error)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(error)?;
    let answer: Value = serde_json::from_str(&answer).map_err(|source| error(source.into()))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(text) => Err(ControlError::Refused(text.to_owned())),
        None => Ok(answer),
    }
}
