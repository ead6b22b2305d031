//! What the sender is told of this device.

use super::{ReceiveError, Run};
use fleetcast_protocol::fleet::DeviceState;

impl Run<'_> {
    /// Says where the device stands with the upgrade under way.
    pub(super) fn tell(&mut self, stand: DeviceState) {
        if let Some(digest) = self.session.manifest().map(|manifest| manifest.digest()) {
            self.tell_of(digest, stand);
        }
    }

    /// Says where the device stands with the manifest with `digest`.
    pub(super) fn tell_of(&mut self, digest: [u8; 32], stand: DeviceState) {
        let Some(reporter) = &mut self.reporter else { return };
        let loss = self.session.loss().map(|(_, loss)| loss);
        let fetched_bytes = self.session.fetched_bytes();
        if let Err(error) = reporter.tell(&self.state, digest, stand, loss, fetched_bytes) {
            // The upgrade is worth more than the word on it.
            self.report.cannot_tell(&error);
        }
    }

    /// Says that the upgrade under way failed; being stopped is no failure.
    pub(super) fn tell_failure(&mut self, error: &ReceiveError) {
        if !matches!(error, ReceiveError::Interrupted) {
            self.tell(DeviceState::Failed { reason: error.to_string() });
        }
    }

    /// The last word is out before the program ends, unless it was told to stop.
    pub(super) fn finish_telling<T>(&mut self, result: &Result<T, ReceiveError>) {
        if let (Some(reporter), false) = (&mut self.reporter, matches!(result, Err(ReceiveError::Interrupted))) {
            reporter.finish();
        }
    }
}
