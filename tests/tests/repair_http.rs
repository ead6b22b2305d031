//! Repair by HTTP: what multicast does not bring comes from web servers, from nginx as well as past hostile ones.

use std::fs::{self, File};
use std::net::IpAddr;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Device, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::lab::SENDER_V4;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::Release;
use fleetcast_tests::skip_without_lab;
use fleetcast_tests::web::{Hostile, Malice, Nginx};
use rustix::process::Signal;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
const ONCE: [&str; 3] = ["--once", "--timeout", "3s"];
/// Short, so that the tests are.
const HURRY: [&str; 6] = ["--repair-offset", "300ms", "--repair-period", "200ms", "--repair-timeout", "1s"];
const SENDER: IpAddr = IpAddr::V4(SENDER_V4);

fn fleet(receivers: usize) -> Fleet {
    Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, receivers).unwrap()
}

fn nginx(fleet: &Fleet) -> Nginx {
    Nginx::start(fleet.lab.sender(), SENDER, &fleet.scratch.join("nginx"), fleet.scratch.path()).unwrap()
}

fn receiver(fleet: &Fleet, index: usize, urls: &[String]) -> Process {
    let urls = urls.iter().flat_map(|url| ["--repair-url", url.as_str()]);
    fleet.receiver(index).args(ONCE).args(HURRY).args(urls).spawn().unwrap()
}

#[track_caller]
fn assert_received(fleet: &Fleet, index: usize, finished: &Finished, release: &Release) -> Value {
    assert_eq!(finished.code(), Some(0), "{}\n{:?}", finished.stderr, finished.events.last());
    assert_eq!(image::sha256(&fleet.device(index).out).unwrap(), release.sha256);
    finished.event("summary").unwrap().clone()
}

/// A device that holds a signed manifest, and nothing of its image.
fn with_manifest_only(device: &Device, release: &Release) {
    fs::create_dir_all(&device.state).unwrap();
    fs::copy(&release.manifest, device.state.join("manifest.fcm")).unwrap();
    File::create(device.state.join("staging")).unwrap();
}

/// One pass with heavy loss. Receiver 0 has nginx; 1 a server that lies, then nginx; 2 nginx and a budget that does not suffice;
/// 3 may ask nobody.
#[test]
fn one_pass_with_heavy_loss_is_completed_from_nginx() {
    skip_without_lab!();
    let mut fleet = fleet(4);
    let losses: Vec<Loss> = (0..4).map(|n| Loss::new(n, 300_000)).collect();
    fleet.lab.set_losses(fleet.channel.port, &losses).unwrap();
    let release = fleet.release(8_000_000, 1).unwrap();
    let nginx = nginx(&fleet);
    let content = fs::read(&release.image).unwrap();
    let liar = Hostile::start(fleet.lab.sender(), SENDER, Malice::WrongBytes, content).unwrap();
    let mut receivers = vec![
        receiver(&fleet, 0, &[nginx.url()]),
        receiver(&fleet, 1, &[liar.url(), nginx.url()]),
        fleet
            .receiver(2)
            .args(ONCE)
            .args(HURRY)
            .args(["--repair-url", &nginx.url(), "--repair-budget", "100k"])
            .spawn()
            .unwrap(),
        fleet.receiver(3).args(ONCE).args(HURRY).args(["--repair-announced", "none"]).spawn().unwrap(),
    ];
    fleet.await_joined(&mut receivers).unwrap();
    fleet.sender(&release).args(["--rate", "100M", "--repair", "5%"]).spawn().unwrap().finish(LONG).unwrap();
    let finished: Vec<Finished> = receivers.into_iter().map(|receiver| receiver.finish(LONG).unwrap()).collect();

    let summary = assert_received(&fleet, 0, &finished[0], &release);
    let number = |summary: &Value, name: &str| summary[name].as_u64().unwrap();
    let (symbols, fetched) = (number(&summary, "symbols"), number(&summary, "fetched_symbols"));
    let deficit = 8_000_000_u64.div_ceil(1_344) - symbols;
    assert!(deficit > 1_000, "{summary}");
    // Two symbols more for each of three blocks; an eighth for the gaps between ranges, and the heads of the answers.
    assert!((deficit..=deficit + 6).contains(&fetched), "{fetched} fetched for {deficit}: {summary}");
    let (bytes, requests) = (number(&summary, "fetched_bytes"), number(&summary, "fetch_requests"));
    assert!(bytes < (deficit + 6) * 1_344 * 9 / 8 + requests * 400, "{summary}");
    assert!(requests < fetched * 3 / 4, "{requests} requests for {fetched} symbols");

    assert_received(&fleet, 1, &finished[1], &release);
    let distrusted = finished[1].event("distrusted").unwrap();
    assert_eq!(distrusted["url"], liar.url());
    // What multicast brought stayed: beside the deficit, one block's part of it was fetched twice.
    let lied_to = finished[1].event("summary").unwrap();
    let deficit = 8_000_000_u64.div_ceil(1_344) - number(lied_to, "symbols");
    assert!(number(lied_to, "fetched_symbols") <= deficit * 4 / 3 + 60, "{lied_to}, deficit {deficit}");

    let over = finished[2].event("summary").unwrap();
    assert_eq!((finished[2].code(), over["result"].as_str()), (Some(5), Some("timeout")));
    assert!(number(over, "fetched_bytes") < 100_000, "{over}");
    assert!(finished[2].event("over_budget").is_some());
    let nobody = finished[3].event("summary").unwrap();
    assert_eq!((finished[3].code(), number(nobody, "fetch_requests")), (Some(5), 0));
}

/// Multicast brings the manifest and a little, and then nothing ever again. Killed while it fetches, the receiver goes on with what
/// it had.
#[test]
fn with_multicast_blocked_a_device_completes_by_http_alone_and_across_kills() {
    skip_without_lab!();
    let fleet = fleet(1);
    let release = fleet.release(60_000_000, 1).unwrap();
    let nginx = nginx(&fleet);
    let mut receivers = vec![receiver(&fleet, 0, &[])];
    fleet.await_joined(&mut receivers).unwrap();
    let sender = fleet.sender(&release).args(["--rate", "20M"]).spawn().unwrap();
    receivers[0].wait_event("manifest", SOON).unwrap();
    drop(sender);
    drop(receivers);
    let mut seen = 0;
    for _ in 0..3 {
        let mut receiver = receiver(&fleet, 0, &[nginx.url()]);
        receiver.wait_event("fetch", SOON).unwrap();
        receiver.signal(Signal::KILL).unwrap();
        seen += receiver.finish(SOON).unwrap().events.iter().filter(|event| event.fields["event"] == "fetch").count();
    }
    let finished = receiver(&fleet, 0, &[nginx.url()]).finish(LONG).unwrap();
    assert_received(&fleet, 0, &finished, &release);
    assert!(seen >= 3);
    let spent = finished.events.iter().filter(|event| event.fields["event"] == "fetch").count() + seen;
    // 23 blocks, each fetched once, and what was under way at a kill.
    assert!(spent <= 23 + 3, "{spent} fetches");
}

/// The sender serves what it sends and announces where: receiver 0 needs to be told nothing, receiver 1 asks nobody.
#[test]
fn the_sender_serves_and_announces_its_image() {
    skip_without_lab!();
    let mut fleet = fleet(2);
    let losses: Vec<Loss> = (0..2).map(|n| Loss::new(n, 300_000)).collect();
    fleet.lab.set_losses(fleet.channel.port, &losses).unwrap();
    let release = fleet.release(4_000_000, 1).unwrap();
    let mut receivers = vec![
        receiver(&fleet, 0, &[]),
        fleet.receiver(1).args(ONCE).args(HURRY).args(["--repair-announced", "none"]).spawn().unwrap(),
    ];
    fleet.await_joined(&mut receivers).unwrap();
    let serving = ["--rate", "100M", "--repair", "5%", "--serve-repair", "0.0.0.0:8090", "--linger", "1s"];
    let sender = fleet.sender(&release).args(serving).spawn().unwrap();
    let finished: Vec<Finished> = receivers.into_iter().map(|receiver| receiver.finish(LONG).unwrap()).collect();
    let sent = sender.finish(LONG).unwrap();
    let summary = assert_received(&fleet, 0, &finished[0], &release);
    assert_eq!(finished[0].event("fetch").unwrap()["url"], "http://10.77.0.1:8090/firmware-1.bin");
    let nobody = finished[1].event("summary").unwrap();
    assert_eq!((finished[1].code(), nobody["fetch_requests"].as_u64()), (Some(5), Some(0)));
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let served = sent.event("served").unwrap();
    assert_eq!(served["ranges"], summary["fetch_requests"]);
    assert!(
        served["bytes"].as_u64() >= Some(summary["fetched_symbols"].as_u64().unwrap() * 1_344),
        "{served} {summary}"
    );
}

/// Whatever a server does, the image arrives from the next one, and the operator is told why.
#[test]
fn hostile_servers_are_passed_over() {
    skip_without_lab!();
    let fleet = fleet(Malice::ALL.len());
    let release = fleet.release(400_000, 1).unwrap();
    let nginx = nginx(&fleet);
    let content = fs::read(&release.image).unwrap();
    let servers: Vec<Hostile> =
        Malice::ALL.map(|malice| Hostile::start(fleet.lab.sender(), SENDER, malice, content.clone()).unwrap()).into();
    let receivers: Vec<Process> = (0..)
        .zip(&servers)
        .map(|(index, server)| {
            with_manifest_only(&fleet.device(index), &release);
            receiver(&fleet, index, &[server.url(), nginx.url()])
        })
        .collect();
    for (index, receiver) in receivers.into_iter().enumerate() {
        let malice = Malice::ALL[index];
        let finished = receiver.finish(LONG).unwrap();
        let summary = assert_received(&fleet, index, &finished, &release);
        let message = match malice {
            Malice::WrongBytes => "",
            Malice::WholeFile => "use a server that honours Range",
            Malice::Cut | Malice::SlowDrip => "it broke off after",
            Malice::WrongContentRange | Malice::NoContentRange | Malice::OtherLength => "is it the same image?",
            Malice::Overlong => "it announces 50000000 bytes",
            Malice::HugeHead => "header",
            Malice::Redirect => "give the final URL",
            Malice::Encoded => "switch compression off",
            Malice::Silent => "timeout",
            Malice::Garbage => "",
            Malice::Unavailable => "status 503",
        };
        let errors: Vec<&str> = finished
            .events
            .iter()
            .filter(|event| event.fields["event"] == "fetch")
            .filter_map(|event| event.fields["error"].as_str())
            .collect();
        assert!(
            malice == Malice::WrongBytes || errors.first().is_some_and(|error| error.contains(message)),
            "{malice:?}: {errors:?}"
        );
        assert!(servers[index].requests() <= 2, "{malice:?} was asked {} times", servers[index].requests());
        // What a lie costs is one block, which here is all, and no server can make a receiver read more than it asked for.
        assert!(summary["fetched_bytes"].as_u64().unwrap() < 1_000_000, "{malice:?}: {summary}");
        let proven = finished.event("distrusted").map(|event| event["proven"].as_bool().unwrap());
        assert_eq!(proven.is_some(), malice == Malice::WrongBytes, "{malice:?}");
    }
}
