//! The sender of the crate `flute`.

use std::time::{Duration, SystemTime};

use flute::core::lct::Cenc;
use flute::core::{Oti, UDPEndpoint};
use flute::sender::{Config, ObjectDesc, Sender, TransferConfig};

use crate::content::Content;

/// Name of the file that it sends.
pub const NAME: &str = "firmware.bin";
/// Seed of the file's content.
pub const SEED: u64 = 9;
/// Time from one packet to the next: about 50 Mbit/s.
pub const PACKET_GAP: Duration = Duration::from_micros(230);

/// What `flute` sends.
pub struct Stranger {
    pub tsi: u64,
    pub first_toi: u128,
    /// Of the session: the FDT is coded so, too.
    pub oti: Oti,
    /// Of the file, when it is another.
    pub file_oti: Option<Oti>,
    pub cenc: Cenc,
    pub passes: u32,
    pub len: usize,
}

impl Stranger {
    /// RaptorQ with blocks of at most `max_block_len` symbols, each with `repair` repair symbols.
    pub fn raptorq(len: usize, max_block_len: u16, repair: u16) -> Self {
        let oti = Oti::new_raptorq(1400, max_block_len, repair, 1, 4).unwrap();
        Self { tsi: 1, first_toi: 1, oti, file_oti: None, cenc: Cenc::Null, passes: 1, len }
    }

    pub fn content(&self) -> Vec<u8> {
        Content::new(SEED).read(0, self.len)
    }

    pub fn sender(&self) -> Sender {
        let endpoint = UDPEndpoint::new(None, "232.1.1.1".into(), 5_000);
        let config = Config { toi_initial_value: Some(self.first_toi), ..Config::default() };
        let mut sender = Sender::new(endpoint, self.tsi, &self.oti, &config);
        let transfer = TransferConfig {
            max_transfer_count: self.passes,
            cenc: self.cenc,
            oti: self.file_oti.clone(),
            ..TransferConfig::default()
        };
        let location = url::Url::parse(&format!("file:///{NAME}")).unwrap();
        let object =
            ObjectDesc::create_from_buffer(self.content(), "application/octet-stream", &location, true, transfer);
        sender.add_object(0, object.unwrap()).unwrap();
        sender.publish(SystemTime::now()).unwrap();
        sender
    }

    /// Everything it sends, in its order.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let mut sender = self.sender();
        let mut now = SystemTime::now();
        let mut packets = Vec::new();
        while let Some(packet) = sender.read(now) {
            packets.push(packet);
            now += PACKET_GAP;
        }
        packets
    }
}
