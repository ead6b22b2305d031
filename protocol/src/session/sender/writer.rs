//! Writes the packets of the image's symbols: the one place that lays out a data packet.

use crate::partition::Partition;
use crate::session::profile::Profile;
use crate::session::schedule::SymbolId;
use crate::wire::{FecId, IdWidth, PacketHead, PayloadId, TOI_IMAGE, WireError};
use thiserror::Error;

/// Why a packet could not be written: always the caller's mistake.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriterError {
    /// The partition has no such block.
    #[error("there is no source block {0}")]
    NoSuchBlock(u8),
    /// The buffer for the packet is not as long as the packet.
    #[error("a packet of {need} bytes does not fit a buffer of {have}")]
    Buffer {
        /// Bytes given.
        have: usize,
        /// Bytes of the packet.
        need: usize,
    },
    /// The head could not be encoded.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Lays out LCT header, FEC Payload ID and room for the symbol; small and `Copy`, so that every worker has its own.
#[derive(Debug, Clone, Copy)]
pub struct SymbolWriter {
    width: IdWidth,
    fec: FecId,
    tsi: u32,
    partition: Partition,
}

impl SymbolWriter {
    pub(super) fn new(profile: Profile, tsi: u32, partition: Partition) -> Self {
        Self { width: profile.id_width(), fec: profile.image_fec(), tsi: profile.tsi(tsi), partition }
    }

    fn head(&self, id: SymbolId, close_object: bool) -> PacketHead<'static> {
        PacketHead {
            width: self.width,
            tsi: self.tsi,
            toi: TOI_IMAGE,
            fec: self.fec,
            close_session: false,
            close_object,
            payload_id: PayloadId { sbn: u32::from(id.sbn), esi: id.esi },
            extensions: &[],
        }
    }

    /// Bytes of everything before the symbol.
    pub fn head_len(&self) -> usize {
        self.head(SymbolId { sbn: 0, esi: 0 }, false).len()
    }

    /// Bytes of the symbol as sent: T, except that the no-code scheme sends the image's last symbol unpadded (RFC 5445).
    pub fn symbol_len(&self, id: SymbolId) -> usize {
        let symbol_size = usize::from(self.partition.symbol_size());
        if self.fec != FecId::NoCode {
            return symbol_size;
        }
        let range = self.partition.block(id.sbn);
        let left = range.map_or(0, |block| block.len.saturating_sub(id.esi as usize * symbol_size));
        left.min(symbol_size)
    }

    /// Bytes of the whole UDP payload.
    pub fn packet_len(&self, id: SymbolId) -> usize {
        self.head_len() + self.symbol_len(id)
    }

    /// Writes the head into `packet`, which must be [`packet_len`](Self::packet_len) bytes, and returns the part where
    /// the symbol goes.
    pub fn write_head<'p>(
        &self,
        id: SymbolId,
        close_object: bool,
        packet: &'p mut [u8],
    ) -> Result<&'p mut [u8], WriterError> {
        if self.partition.k(id.sbn).is_none() {
            return Err(WriterError::NoSuchBlock(id.sbn));
        }
        let need = self.packet_len(id);
        if packet.len() != need {
            return Err(WriterError::Buffer { have: packet.len(), need });
        }
        let head_len = self.head(id, close_object).write(packet)?;
        Ok(&mut packet[head_len..])
    }

    /// Writes a source symbol's packet, with the symbol read from `block`, the block's bytes in the image; a last
    /// symbol that is short is padded with zeros to the length as sent.
    pub fn write_source(
        &self,
        id: SymbolId,
        close_object: bool,
        block: &[u8],
        packet: &mut [u8],
    ) -> Result<(), WriterError> {
        let symbol_size = usize::from(self.partition.symbol_size());
        let symbol = self.write_head(id, close_object, packet)?;
        let start = (id.esi as usize * symbol_size).min(block.len());
        let source = &block[start..(start + symbol.len()).min(block.len())];
        let (copy, padding) = symbol.split_at_mut(source.len());
        copy.copy_from_slice(source);
        padding.fill(0);
        Ok(())
    }
}
