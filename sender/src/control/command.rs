//! What may be asked of a running sender: one command a line, one JSON object back.

use crate::rate::parse_rate;
use thiserror::Error;

/// A longer line is none of ours.
pub const MAX_LINE: usize = 256;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `rate 50M`: send at this rate from now on, in bits a second.
    Rate(u64),
    /// `status`: how far the send is, and how well it keeps its schedule.
    Status,
    /// `stop`: end as after SIGTERM.
    Stop,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// It is not text.
    #[error("a command is a line of text of up to {MAX_LINE} bytes")]
    NoText,
    /// It is none of the commands.
    #[error("there is no command '{0}'; write rate BITS (such as rate 50M), status or stop")]
    Unknown(String),
    /// The rate is none.
    #[error("{0}")]
    Rate(String),
}

impl Command {
    /// Parses a line, its end included or not.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = str::from_utf8(line).ok().filter(|text| text.len() <= MAX_LINE).ok_or(CommandError::NoText)?;
        let mut words = text.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("rate"), Some(rate), None) => parse_rate(rate).map(Self::Rate).map_err(CommandError::Rate),
            (Some("status"), None, _) => Ok(Self::Status),
            (Some("stop"), None, _) => Ok(Self::Stop),
            _ => Err(CommandError::Unknown(text.trim().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_commands_and_says_what_else_there_is() {
        assert_eq!(Command::parse(b"rate 50M\n"), Ok(Command::Rate(50_000_000)));
        assert_eq!(Command::parse(b" status\r\n"), Ok(Command::Status));
        assert_eq!(Command::parse(b"stop"), Ok(Command::Stop));
        for line in ["", "rate", "rate 1M 2M", "status now", "STOP", "{\"rate\": 1}"] {
            assert!(matches!(Command::parse(line.as_bytes()), Err(CommandError::Unknown(_))), "{line}");
        }
        for rate in ["0", "999", "1001G", "fast", "-1M"] {
            assert!(matches!(Command::parse(format!("rate {rate}").as_bytes()), Err(CommandError::Rate(_))), "{rate}");
        }
        assert_eq!(Command::parse(&[0xff]), Err(CommandError::NoText));
        assert_eq!(Command::parse(&[b' '; MAX_LINE + 1]), Err(CommandError::NoText));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_command_within_bounds_or_an_error(line in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Command::Rate(rate_bps)) = Command::parse(&line) {
                prop_assert!(parse_rate(&rate_bps.to_string()).is_ok());
            }
        }

        #[test]
        fn every_rate_is_read(rate_bps in 1_000u64..=1_000_000_000_000) {
            prop_assert_eq!(Command::parse(format!("rate {rate_bps}\n").as_bytes()), Ok(Command::Rate(rate_bps)));
        }
    }
}
