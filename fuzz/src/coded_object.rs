//! Small objects coded with RaptorQ, as other senders code their FDT, put together from packets of which any may be forged.

use crate::input::Input;
use crate::memory::Meter;
use fleetcast_protocol::object::CodedAssembler;
use fleetcast_protocol::wire::{PayloadId, RaptorQOti};

const MAX_LEN: u64 = 4_096;
/// Four objects with what `CodedAssembler` documents, nine symbols more a block and 100 bytes a symbol, and the codec's
/// plans and scratch.
const MAX_HELD: usize = 4 << 20;

/// Pushes symbols as the bytes say.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let meter = Meter::start();
    let mut assembler = CodedAssembler::new(MAX_LEN);
    while !input.is_empty() {
        let version = Some(u32::from(input.u8())).filter(|version| *version != 0);
        let oti = RaptorQOti {
            transfer_length: u64::from(input.u16()) << (8 * (input.u8() % 5)),
            symbol_size: input.u16(),
            blocks: input.u8(),
            sub_blocks: 1 + u16::from(input.u8() / 250),
            alignment: 4,
        };
        let last = usize::try_from(oti.transfer_length % u64::from(oti.symbol_size.max(1))).unwrap_or_default();
        for _ in 0..=input.u8() % 32 {
            let id = PayloadId { sbn: u32::from(input.u8()), esi: input.u32() >> (8 * (input.u8() % 4)) };
            let len = if input.u8() == 0 { last } else { usize::from(oti.symbol_size) };
            if let Some(object) = assembler.push(version, &oti, id, &vec![input.u8(); len]) {
                assert_eq!(object.len() as u64, oti.transfer_length);
                assert!(object.len() as u64 <= MAX_LEN);
                if input.u8() % 2 == 0 {
                    assembler.reject();
                }
            }
            assert!(meter.held() <= MAX_HELD, "{} bytes are held", meter.held());
        }
    }
}
