//! Control packets that many sessions of one process hear: read once, and their signature checked once, for all of them.

use super::listener::Listener;
use super::{Mode, ReceiverSession};
use crate::announcement::Announcement;
use crate::manifest::{SignedManifest, TrustStore};
use crate::wire::{Packet, TOI_ANNOUNCEMENT, TOI_MANIFEST};
use std::sync::Arc;
use std::time::Duration;

/// A control packet with what it says.
#[derive(Debug)]
pub struct SharedPacket {
    bytes: Vec<u8>,
    tsi: u64,
    trust: Arc<TrustStore>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Where the session stands.
    Announcement(Box<Announcement>),
    /// A whole manifest, signed by a key that is trusted.
    Manifest(Arc<SignedManifest>),
    /// What each session has to read for itself.
    Other,
}

impl SharedPacket {
    /// Reads a packet for sessions that share `trust`.
    pub fn new(bytes: Vec<u8>, trust: &Arc<TrustStore>) -> Self {
        let (tsi, content) = match Packet::parse(&bytes) {
            Ok(packet) => (packet.header.tsi, content_of(&packet, trust)),
            Err(_) => (0, Content::Other),
        };
        Self { bytes, tsi, trust: Arc::clone(trust), content }
    }

    /// The announcement, if it is one.
    pub fn announcement(&self) -> Option<&Announcement> {
        match &self.content {
            Content::Announcement(announcement) => Some(announcement),
            Content::Manifest(_) | Content::Other => None,
        }
    }

    /// Bytes of the UDP payload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn content_of(packet: &Packet<'_>, trust: &TrustStore) -> Content {
    match packet.header.toi {
        TOI_ANNOUNCEMENT => Announcement::from_cbor(packet.payload)
            .map_or(Content::Other, |announcement| Content::Announcement(Box::new(announcement))),
        // One that fills several packets is put together by each session.
        TOI_MANIFEST => Listener::new(None)
            .assemble(packet)
            .and_then(|bytes| SignedManifest::verify(&bytes, trust).ok())
            .map_or(Content::Other, |manifest| Content::Manifest(Arc::new(manifest))),
        _ => Content::Other,
    }
}

impl ReceiverSession {
    /// Takes a control packet that arrived at `now`: the same as [`on_packet`](Self::on_packet) with its bytes, but that a
    /// trusted manifest takes no memory of its own.
    pub fn on_shared_packet(&mut self, now: Duration, packet: &SharedPacket) {
        let is_shared = match &self.mode {
            Mode::Signed { trust, .. } => Arc::ptr_eq(trust, &packet.trust),
            Mode::Unsigned(_) => false,
        };
        if !is_shared || !self.listener.hears(packet.tsi) || matches!(packet.content, Content::Other) {
            self.on_packet(now, &packet.bytes);
            return;
        }
        self.stats.packets += 1;
        self.stats.bytes += packet.bytes.len() as u64;
        self.stats.control += 1;
        match &packet.content {
            Content::Announcement(announcement) => self.on_announced(now, packet.tsi, announcement),
            Content::Manifest(manifest) => self.on_trusted(now, packet.tsi, manifest),
            Content::Other => {}
        }
    }
}
