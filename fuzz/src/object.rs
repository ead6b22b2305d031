//! Small objects without FEC, put together from packets of which any may be forged.

use crate::input::Input;
use crate::memory::Meter;
use fleetcast_protocol::object::{NoCodeObject, ObjectAssembler};
use fleetcast_protocol::wire::{NoCodeOti, PayloadId};

const MAX_LEN: usize = 4_096;
/// What `ObjectAssembler` documents, 4 × 2 × `max_len`, and what its bookkeeping may take.
const MAX_HELD: usize = 8 * MAX_LEN + 4_096;
const SYMBOL: [u8; 256] = [0xA5; 256];

/// Pushes symbols as the bytes say, then a genuine object, which must come out after one repetition.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let meter = Meter::start();
    let mut assembler = ObjectAssembler::new(MAX_LEN);
    while !input.is_empty() {
        let version = Some(u32::from(input.u8())).filter(|version| *version != 0);
        let oti = NoCodeOti {
            transfer_length: u64::from(input.u16()) << (8 * (input.u8() % 5)),
            symbol_size: input.u16(),
            max_block_len: u32::from(input.u16()),
        };
        // Many symbols of one object: forgers are not limited to one.
        for _ in 0..=input.u8() % 8 {
            let id = PayloadId { sbn: u32::from(input.u8()), esi: u32::from(input.u8()) };
            let payload = SYMBOL.get(..usize::from(input.u8())).unwrap_or(&SYMBOL);
            if let Some(object) = assembler.push(version, &oti, id, payload) {
                assert_eq!(object.len() as u64, oti.transfer_length);
                assert!(object.len() <= MAX_LEN && object.iter().all(|&byte| byte == SYMBOL[0]));
                if input.u8() % 2 == 0 {
                    assembler.reject();
                }
            }
            assert!(meter.held() <= MAX_HELD, "{} bytes are held", meter.held());
        }
    }
    completes(&mut assembler);
}

fn completes(assembler: &mut ObjectAssembler) {
    let content: Vec<u8> = (0..=255).cycle().take(999).collect();
    let genuine = NoCodeObject::new(1, content, 100).expect("a small object");
    // A version that no input has.
    let push = |(id, symbol): (PayloadId, &[u8])| assembler.push(Some(1_000), &genuine.oti(), id, symbol);
    let received: Vec<Vec<u8>> = genuine.symbols().filter_map(push).collect();
    assert_eq!(received, [genuine.bytes()]);
}
