//! Whom a receiver believes.

use crate::state::State;
use fleetcast_protocol::manifest::TrustStore;
use fleetcast_protocol::policy::Device;
use fleetcast_protocol::session::receiver::ReceiverSession;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whom a receiver believes.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Whoever signed with one of these keys, when the manifest is for this device.
    Keys {
        /// The keys.
        store: TrustStore,
        /// This device's product id.
        product: String,
        /// This device's hardware id.
        hardware: String,
    },
    /// Anybody: nothing that comes is authenticated.
    Nobody,
}

impl Trust {
    /// A session that takes up what is trusted; with `tsi`, only that of one sender.
    pub(super) fn session(&self, state: &State, tsi: Option<u32>) -> ReceiverSession {
        match self {
            Self::Keys { store, product, hardware } => {
                let device = Device {
                    product: product.clone(),
                    hardware: hardware.clone(),
                    floor: state.floor(),
                    trusted_time_unix_s: Some(trusted_time_unix_s(state)),
                };
                ReceiverSession::new(store.clone(), device, tsi)
            }
            Self::Nobody => ReceiverSession::unsigned(tsi),
        }
    }

    /// What such a receiver waits for first.
    pub(super) fn awaited(&self) -> &'static str {
        match self {
            Self::Keys { .. } => "a manifest",
            Self::Nobody => "an FDT",
        }
    }

    /// What describes an image to such a receiver.
    pub(super) fn description(&self) -> &'static str {
        match self {
            Self::Keys { .. } => "manifest",
            Self::Nobody => "FDT",
        }
    }
}

/// Seconds since 1970, by the clock.
pub(super) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The clock, but never earlier than the last upgrade: a device without a battery starts in 1970.
fn trusted_time_unix_s(state: &State) -> u64 {
    unix_s().max(state.installed().map_or(0, |installed| installed.applied_unix_s))
}
