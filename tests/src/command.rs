//! Running the tools (`ip`, `bridge`, `ethtool`, `openssl`) to their end.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::LabError;

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the error carries what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String, LabError> {
    run_with_input(command, &[])
}

/// Like [`run`], with bytes for its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<String, LabError> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::io(format!("start `{shown}`")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that fails early closes its input: its own message tells more than the broken pipe.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(LabError::io(format!("wait for `{shown}`")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Command { command: shown, stderr: format!("{} ({})", stderr, output.status) })
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_output_or_the_message() {
        assert_eq!(run_with_input(&mut Command::new("cat"), b"hello").unwrap(), "hello");
        let error = run(Command::new("sh").args(["-c", "echo out; echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
        assert!(run(&mut Command::new("/no/such/tool")).is_err());
    }
}
