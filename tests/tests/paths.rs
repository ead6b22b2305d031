//! Every way of sending delivers the same image: backends, several threads, a resident carousel, and rates that change.

use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::skip_without_lab;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_way_of_sending_delivers() {
    skip_without_lab!();
    let mut fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap();
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(1, 10_000)]).unwrap();
    for (sequence, ways) in (1..).zip([
        &["--backend", "uring"][..],
        &["--backend", "uring", "--threads", "2", "--pin-senders", "0", "--resident", "--passes", "6"],
        &["--backend", "mmsg", "--threads", "3", "--resident", "--passes", "2", "--burst", "750us"],
    ]) {
        let release = fleet.release(4_000_000, sequence).unwrap();
        let receiver = fleet.receiver(0).args(["--once", "--timeout", "15s"]).spawn().unwrap();
        let mut receivers = vec![receiver];
        fleet.await_joined(&mut receivers).unwrap();
        let sender = fleet.sender(&release).args(["--rate", "200M"]).args(ways).spawn().unwrap();
        let sent = sender.finish(SOON).unwrap();
        assert_eq!(sent.code(), Some(0), "{ways:?}: {}", sent.stderr);
        let received = receivers.remove(0).finish(SOON).unwrap();
        assert_eq!(received.code(), Some(0), "{ways:?}: {}", received.stderr);
        assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256, "{ways:?}");
        if ways.contains(&"--resident") {
            assert!(sent.event("resident").unwrap()["bytes"].as_u64() > Some(4_000_000));
        }
    }
}
