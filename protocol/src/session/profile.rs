//! Profiles: what other FLUTE implementations need a stream to look like (design section 3).

use crate::wire::{FecId, IdWidth};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Blocks interleaved by default: about 12 ms of outage per block at 100 Mbit/s and 5 % repair.
pub const DEFAULT_WINDOW_BLOCKS: u16 = 8;
/// The Rust `flute` receiver caches 10 MiB of unfinished blocks: three of 2.9 MB.
pub const FLUTE_WINDOW_BLOCKS: u16 = 3;

/// The dialect a sender speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// RaptorQ, 32/32 ids: fleetcast's own receivers.
    #[default]
    Fleetcast,
    /// RaptorQ, 16/16 ids, a window of at most three blocks: the Rust `flute` receiver.
    Flute,
    /// Compact No-Code, 16/16 ids: receivers without FEC.
    NoCode,
}

impl Profile {
    /// Widths of TSI and TOI.
    pub fn id_width(self) -> IdWidth {
        match self {
            Self::Fleetcast => IdWidth::W32,
            Self::Flute | Self::NoCode => IdWidth::W16,
        }
    }

    /// The TSI as it goes on the wire: never 0, and within the profile's width.
    pub fn tsi(self, tsi: u32) -> u32 {
        match self.id_width() {
            IdWidth::W32 => tsi.max(1),
            IdWidth::W16 => (tsi & 0xFFFF).max(1),
        }
    }

    /// FEC scheme of the image.
    pub fn image_fec(self) -> FecId {
        match self {
            Self::Fleetcast | Self::Flute => FecId::RaptorQ,
            Self::NoCode => FecId::NoCode,
        }
    }

    /// Largest window the receivers cope with.
    pub fn max_window_blocks(self) -> u16 {
        match self {
            Self::Fleetcast | Self::NoCode => u16::MAX,
            Self::Flute => FLUTE_WINDOW_BLOCKS,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fleetcast => "fleetcast",
            Self::Flute => "flute",
            Self::NoCode => "no-code",
        })
    }
}

/// There is no such profile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no profile '{0}'; choose fleetcast, flute or no-code")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        [Self::Fleetcast, Self::Flute, Self::NoCode]
            .into_iter()
            .find(|profile| profile.to_string() == text)
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}
