//! A flood of manifests that are not for this device.

use super::*;

#[test]
fn a_flood_of_refused_manifests_is_counted_and_does_not_fill_the_log() {
    let image = image(1_000, 5);
    let mut receiver = Receiver::new();
    for sequence in 0..200 {
        let forged = seal(&image, 64, 1, sequence, &signing_key_from_random(&[8; 32]));
        packets(&config(1000 + sequence as u32, 1), &forged, &image).iter().for_each(|packet| receiver.take(packet));
    }
    assert!(receiver.session.stats().refused >= 200);
    assert_eq!(receiver.refused.len(), 16);
    let mut once = |sequence: u64| {
        let forged = seal(&image, 64, 1, sequence, &signing_key_from_random(&[8; 32]));
        packets(&config(5000, 1), &forged, &image).iter().for_each(|packet| receiver.take(packet));
        receiver.wait(Duration::from_secs(60));
        receiver.refused.len()
    };
    assert_eq!([once(1000), once(1001)], [16, 17]);
}

/// Manifests with a signature that has to be checked, and the genuine one under ever new TSIs, beside an upgrade.
#[test]
fn a_flood_of_manifests_beside_an_upgrade_costs_few_checks_and_displaces_nothing() {
    let image = image(30_000, 5);
    let manifest = seal(&image, 64, 7, 1, &release_key());
    let first_of = |tsi: u32, manifest: &UnverifiedManifest| {
        let all = packets(&config(tsi, 1), manifest, &image);
        let of_manifest = |packet: &&Vec<u8>| Packet::parse(packet).unwrap().header.toi == TOI_MANIFEST;
        all.iter().filter(of_manifest).take(manifest.bytes().len().div_ceil(256)).cloned().collect::<Vec<_>>()
    };
    let (replay, mut forged) = (first_of(9, &manifest), first_of(9, &manifest));
    *forged.last_mut().unwrap().last_mut().unwrap() ^= 1;
    let mut receiver = Receiver::new();
    for (n, packet) in (0..).zip(packets(&config(1, 1), &manifest, &image)) {
        receiver.take(&packet);
        for (flood, base) in [(&replay, 0x1000_0000_u32), (&forged, 0x2000_0000)] {
            for mut packet in flood.iter().cloned() {
                packet[8..12].copy_from_slice(&(base + n).to_be_bytes());
                receiver.session.on_packet(receiver.now, &packet);
            }
        }
        receiver.act();
    }
    let stats = *receiver.session.stats();
    assert_eq!((receiver.complete, receiver.image() == image, stats.corrupt_blocks), (1, true, 0));
    let seconds = receiver.now.as_secs() + 1;
    assert!((1..=100 * seconds).contains(&stats.refused), "{} refused in {seconds} s", stats.refused);
}
