//! Profiles: what other FLUTE implementations need a stream to look like (design section 3).

use crate::partition::Partition;
use crate::wire::{FecId, IdWidth};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Blocks interleaved by default: about 12 ms of outage per block at 100 Mbit/s and 5 % repair.
pub const DEFAULT_WINDOW_BLOCKS: u16 = 8;
/// Most blocks interleaved for the Rust `flute` receiver, whatever their length.
pub const FLUTE_WINDOW_BLOCKS: u16 = 3;
/// What that receiver holds of blocks that are not decoded yet, in bytes: an object that needs more fails.
pub const FLUTE_CACHE_LEN: u64 = 10 << 20;

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

    /// Largest window that the receivers cope with for this partition; 0 when not even one block fits.
    pub fn max_window_blocks(self, partition: &Partition) -> u16 {
        match self {
            Self::Fleetcast => u16::MAX,
            Self::Flute => {
                let fitting = FLUTE_CACHE_LEN / largest_block_len(partition);
                u16::try_from(fitting).unwrap_or(u16::MAX).min(FLUTE_WINDOW_BLOCKS)
            }
            // Spreading an outage over blocks helps only where symbols of a block replace each other.
            Self::NoCode => 1,
        }
    }
}

/// K·T of the largest block, in bytes.
pub(super) fn largest_block_len(partition: &Partition) -> u64 {
    u64::from(partition.largest_k()) * u64::from(partition.symbol_size())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn window(profile: Profile, symbols_per_block: u64) -> u16 {
        profile.max_window_blocks(&Partition::new(4 * symbols_per_block * 1344, 1344, 4).unwrap())
    }

    #[test]
    fn the_flute_receiver_s_cache_bounds_the_window() {
        // 10 MiB are 7,801.9 symbols of 1,344 bytes.
        for (symbols, blocks) in [(1, 3), (2600, 3), (2601, 2), (3900, 2), (3901, 1), (7801, 1), (7802, 0)] {
            assert_eq!(window(Profile::Flute, symbols), blocks, "{symbols} symbols a block");
        }
        assert_eq!((window(Profile::Fleetcast, 50_000), window(Profile::NoCode, 50_000)), (u16::MAX, 1));
    }

    #[test]
    fn names_are_read_back() {
        for profile in [Profile::Fleetcast, Profile::Flute, Profile::NoCode] {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        assert!("rtp".parse::<Profile>().is_err());
    }
}
