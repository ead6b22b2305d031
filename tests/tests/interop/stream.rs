//! The packets of a real sender session, in process: the session says which, a symbol writer lays them out, the codec
//! makes the repair symbols.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleetcast_fec::{Codec, RepairRow};
use fleetcast_protocol::keys::signing_key_from_random;
use fleetcast_protocol::manifest::{Manifest, SignedManifest, UnverifiedManifest};
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::sender::{Outgoing, Poll, SenderConfig, SenderSession, SymbolWriter};
use fleetcast_protocol::session::{Profile, RepairShare, SymbolId};
use sha2::{Digest, Sha256};

use crate::content::Content;

const NAME: &str = "firmware.bin";
const RATE_BPS: u64 = 1_000_000_000;
const SYMBOL_SIZE: u16 = 1344;

/// What is sent, and how.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub profile: Profile,
    pub image_len: u64,
    pub block_symbols: u32,
    pub window_blocks: u16,
    pub repair_percent: u32,
    pub passes: u32,
    pub tsi: u32,
}

impl Shape {
    /// 5 MB in a profile, as its defaults would send it.
    pub fn of(profile: Profile) -> Self {
        let repair_percent = if profile == Profile::NoCode { 0 } else { 5 };
        Self {
            profile,
            image_len: 5_000_003,
            block_symbols: 2_000,
            window_blocks: 8,
            repair_percent,
            passes: 1,
            tsi: 0xdead_beef,
        }
    }
}

/// A session and all it needs to make packets.
pub struct Stream {
    session: SenderSession,
    writer: SymbolWriter,
    codec: Codec,
    content: Content,
    partition: Partition,
    manifest: UnverifiedManifest,
    blocks: VecDeque<Block>,
    now: Duration,
}

/// A block whose symbols are being sent.
struct Block {
    sbn: u8,
    source: Vec<u8>,
    /// Repair symbols of the pass, from this ESI on.
    first_esi: u32,
    repair: Vec<u8>,
}

impl Stream {
    pub fn new(shape: &Shape, content: Content) -> Self {
        let partition = Partition::plan(shape.image_len, SYMBOL_SIZE, shape.block_symbols).unwrap();
        let manifest = sealed(partition, content);
        let config = SenderConfig {
            profile: shape.profile,
            tsi: shape.tsi,
            passes: Some(shape.passes),
            window_blocks: shape.window_blocks,
            repair: RepairShare::from_permyriad(100 * shape.repair_percent),
            rate_bps: RATE_BPS,
            start_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        };
        let session = SenderSession::new(&config, &manifest).unwrap();
        let writer = session.writer();
        let (codec, blocks) = (Codec::new(), VecDeque::new());
        Self { session, writer, codec, content, partition, manifest, blocks, now: Duration::ZERO }
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    pub fn manifest(&self) -> &UnverifiedManifest {
        &self.manifest
    }

    /// The next packet, at simulated line rate; `None` when the session is over.
    pub fn next_packet(&mut self) -> Option<Vec<u8>> {
        loop {
            let packet = match self.session.poll(self.now).unwrap() {
                Poll::Done => return None,
                Poll::Wait(until) | Poll::Listen(until) => {
                    self.now = until;
                    continue;
                }
                Poll::Packet(Outgoing::Control(packet)) => packet,
                Poll::Packet(Outgoing::Symbol { id, close_object }) => self.symbol(id, close_object),
            };
            self.now += Duration::from_nanos(packet.len() as u64 * 8_000_000_000 / RATE_BPS);
            return Some(packet);
        }
    }

    fn symbol(&mut self, id: SymbolId, close_object: bool) -> Vec<u8> {
        let mut packet = vec![0; self.writer.packet_len(id)];
        let block = self.block(id.sbn);
        if id.esi < self.partition.k(id.sbn).unwrap() {
            let source = &self.blocks[block].source;
            self.writer.write_source(id, close_object, source, &mut packet).unwrap();
            return packet;
        }
        let size = usize::from(self.partition.symbol_size());
        let room = self.writer.write_head(id, close_object, &mut packet).unwrap();
        let row = match self.blocks[block].row(id.esi, size) {
            Some(row) => row,
            None => {
                self.encode(block, id.esi);
                self.blocks[block].row(id.esi, size).unwrap()
            }
        };
        room.copy_from_slice(row);
        packet
    }

    /// Index of a block in the window, which is as long as the schedule's.
    fn block(&mut self, sbn: u8) -> usize {
        if let Some(index) = self.blocks.iter().position(|block| block.sbn == sbn) {
            return index;
        }
        if self.blocks.len() >= usize::from(self.session.schedule().window_blocks()) {
            self.blocks.pop_front();
        }
        let range = self.partition.block(sbn).unwrap();
        let source = self.content.read(range.offset, range.len);
        self.blocks.push_back(Block { sbn, source, first_esi: 0, repair: Vec::new() });
        self.blocks.len() - 1
    }

    /// Makes a whole pass's repair symbols of a block.
    fn encode(&mut self, index: usize, first_esi: u32) {
        let block = &mut self.blocks[index];
        let shape = self.partition.block(block.sbn).unwrap().shape;
        let (large, small) = self.session.schedule().repair_symbols();
        let count = if shape.k() == self.partition.largest_k() { large } else { small };
        block.first_esi = first_esi;
        block.repair = vec![0; count as usize * shape.symbol_size()];
        let rows = (first_esi..).zip(block.repair.chunks_exact_mut(shape.symbol_size()));
        let mut rows: Vec<_> = rows.map(|(esi, out)| RepairRow { esi, out }).collect();
        self.codec.encode(shape, &block.source, &mut rows).unwrap();
    }
}

impl Block {
    fn row(&self, esi: u32, size: usize) -> Option<&[u8]> {
        let at = esi.checked_sub(self.first_esi)? as usize * size;
        self.repair.get(at..at + size)
    }
}

fn sealed(partition: Partition, content: Content) -> UnverifiedManifest {
    let mut whole = Sha256::new();
    let hash = |range: fleetcast_protocol::partition::BlockRange| {
        let block = content.read(range.offset, range.len);
        whole.update(&block);
        Sha256::digest(&block).into()
    };
    let block_sha256 = partition.iter().map(hash).collect();
    let manifest = Manifest {
        name: NAME.into(),
        product: "p".into(),
        hardware: vec!["h".into()],
        version: "1".into(),
        sequence: 1,
        image_sha256: whole.finalize().into(),
        partition,
        block_sha256,
        not_before_unix_s: None,
        expires_unix_s: None,
    };
    let signed = SignedManifest::sign(&manifest, &signing_key_from_random(&[1; 32])).unwrap();
    SignedManifest::parse_unverified(signed.bytes()).unwrap()
}
