//! LCT header, extensions, FEC object transmission information and payload id.

use fleetcast_protocol::wire::{Extension, NoCodeOti, Oti, Packet, PacketHead, RaptorQOti};

/// Reads a UDP payload; what was read is written and read again.
pub fn run(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let extensions: Vec<Extension> = packet.extensions.clone().collect();
    assert!(extensions.len() <= bytes.len() / 4);
    assert!(packet.payload.len() <= bytes.len());
    if let Some(oti) = packet.extensions.fti() {
        check_oti(&oti, &packet);
    }
    write_and_read(&packet, &extensions);
}

fn check_oti(oti: &Oti, packet: &Packet<'_>) {
    match oti {
        Oti::RaptorQ(oti) => {
            let bytes = oti.encode().expect("what was decoded is valid");
            assert_eq!(RaptorQOti::decode(&bytes).as_ref(), Ok(oti));
            let info = oti.scheme_specific_info();
            assert_eq!(RaptorQOti::from_fdt(oti.transfer_length, oti.symbol_size, &info).as_ref(), Ok(oti));
        }
        Oti::NoCode(oti) => {
            let bytes = oti.encode().expect("what was decoded is valid");
            assert_eq!(NoCodeOti::decode(&bytes).as_ref(), Ok(oti));
            if let Ok(id) = packet.payload_id()
                && let Some(place) = oti.locate(id)
            {
                assert!(place.index < oti.total_symbols());
                assert!(place.left_in_block >= 1 && place.left_in_block <= u64::from(oti.max_block_len));
            }
        }
    }
}

/// Only packets of our own shape can be written.
fn write_and_read(packet: &Packet<'_>, extensions: &[Extension]) {
    let (Some(width), Some(fec), Ok(payload_id)) = (packet.header.width(), packet.fec(), packet.payload_id()) else {
        return;
    };
    let head = PacketHead {
        width,
        tsi: u32::try_from(packet.header.tsi).expect("a width of at most 32 bits"),
        toi: packet.header.toi,
        fec,
        close_session: packet.header.close_session,
        close_object: packet.header.close_object,
        payload_id,
        extensions,
    };
    let mut written = vec![0; head.len()];
    let len = head.write(&mut written).expect("what was read can be written");
    assert_eq!(len, written.len());
    written.extend_from_slice(packet.payload);
    let again = Packet::parse(&written).expect("what was written can be read");
    assert_eq!(again.extensions.clone().collect::<Vec<_>>(), extensions);
    assert_eq!(
        (again.header.tsi, again.header.toi, again.header.close_session, again.header.close_object),
        (packet.header.tsi, packet.header.toi, packet.header.close_session, packet.header.close_object)
    );
    assert_eq!((again.fec(), again.payload_id(), again.payload), (packet.fec(), packet.payload_id(), packet.payload));
}
