//! Numbers with units as people write them on a command line: `100M`, `5%`, `60s`.

use std::time::Duration;
use thiserror::Error;

/// Why a value was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a positive rate.
    #[error("'{0}' is not a rate in bits per second; write for example 100M, 2.5G or 500k, and more than 0")]
    Rate(String),
    /// Not a percentage.
    #[error("'{0}' is not a percentage from 0% to 1000%; write for example 5% or 2.5%")]
    Percent(String),
    /// Not a share of a whole.
    #[error("'{0}' is not a share from 0% to 100%; write for example 99% or 99.5%")]
    Share(String),
    /// Not a number of bytes.
    #[error("'{0}' is not a positive number of bytes; write for example 500k, 20M or 1G")]
    Bytes(String),
    /// Not a duration.
    #[error("'{0}' is not a positive time; write for example 60s, 500ms, 5m or 2h")]
    Duration(String),
}

/// Splits a number from what follows it; the number is finite and not negative.
fn number_and_suffix(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let value: f64 = digits.parse().ok()?;
    value.is_finite().then_some((value, suffix.trim_start()))
}

/// Rounds a value that is known to be finite and not negative, if it fits.
fn to_u64(value: f64) -> Option<u64> {
    // 2^63 is exact in f64; everything below converts without loss of range.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked here")]
    (value.is_finite() && (0.0..9.2e18).contains(&value)).then_some(value.round() as u64)
}

/// Parses a positive number with an optional decimal suffix k, M or G (powers of 1,000).
fn parse_decimal(text: &str) -> Option<u64> {
    let (value, suffix) = number_and_suffix(text.trim())?;
    let scale = match suffix {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" | "m" => 1e6,
        "G" | "g" => 1e9,
        _ => return None,
    };
    to_u64(value * scale).filter(|&number| number > 0)
}

/// Parses a rate in bits per second with an optional decimal suffix k, M or G (powers of 1,000).
pub fn parse_rate_bps(text: &str) -> Result<u64, UnitError> {
    parse_decimal(text).ok_or_else(|| UnitError::Rate(text.to_owned()))
}

/// Parses a number of bytes with an optional decimal suffix k, M or G (powers of 1,000).
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    parse_decimal(text).ok_or_else(|| UnitError::Bytes(text.to_owned()))
}

/// Parses a percentage such as `5%` (the sign may be left out) into hundredths of a percent.
pub fn parse_permyriad(text: &str) -> Result<u32, UnitError> {
    let error = || UnitError::Percent(text.to_owned());
    let (value, suffix) = number_and_suffix(text.trim()).ok_or_else(error)?;
    if !matches!(suffix, "" | "%") || value > 1000.0 {
        return Err(error());
    }
    to_u64(value * 100.0).and_then(|permyriad| u32::try_from(permyriad).ok()).ok_or_else(error)
}

/// Parses a share of a whole such as `99%` into hundredths of a percent.
pub fn parse_share(text: &str) -> Result<u32, UnitError> {
    let share = parse_permyriad(text).ok().filter(|&permyriad| permyriad <= 10_000);
    share.ok_or_else(|| UnitError::Share(text.to_owned()))
}

/// Parses a time with a suffix us, ms, s, m or h (seconds when there is none).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::Duration(text.to_owned());
    let (value, suffix) = number_and_suffix(text.trim()).ok_or_else(error)?;
    let scale = match suffix {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(value * scale).ok().filter(|d| !d.is_zero()).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse_rate_bps("100M"), Ok(100_000_000));
        assert_eq!(parse_rate_bps("2.5G"), Ok(2_500_000_000));
        assert_eq!(parse_rate_bps("500 k"), Ok(500_000));
        assert_eq!(parse_rate_bps("9600"), Ok(9_600));
        assert_eq!(parse_bytes("20M"), Ok(20_000_000));
        assert_eq!(parse_permyriad("5%"), Ok(500));
        assert_eq!(parse_permyriad("2.5"), Ok(250));
        assert_eq!(parse_permyriad("0%"), Ok(0));
        assert_eq!(parse_share("99.5%"), Ok(9_950));
        assert!(parse_share("100%").is_ok() && parse_share("100.1%").is_err());
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("750us"), Ok(Duration::from_micros(750)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn refuses_the_rest_with_an_example() {
        for bad in ["", "0", "-1M", "fast", "1X", "1e9", "NaN", "0.0001k", "99999999999999G"] {
            assert!(parse_rate_bps(bad).unwrap_err().to_string().contains("100M"), "{bad}");
            assert!(parse_bytes(bad).unwrap_err().to_string().contains("20M"), "{bad}");
        }
        for bad in ["", "-5%", "5‰", "1001%", "many"] {
            assert!(parse_permyriad(bad).is_err() && parse_share(bad).is_err(), "{bad}");
        }
        for bad in ["", "0s", "-1s", "5 parsecs", "99999999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = (parse_rate_bps(&text), parse_permyriad(&text), parse_duration(&text));
        }
    }
}
