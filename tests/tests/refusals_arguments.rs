//! Arguments, images and interfaces that cannot work: both programs say what is wrong and what to do, with the exit code of
//! its kind, before anything is sent or received.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::image;
use fleetcast_tests::lock::LabLock;
use fleetcast_tests::namespace::Namespace;
use fleetcast_tests::release::{KeyPair, Release};
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::skip_without_lab;

const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
const VERIFICATION: i32 = 6;
/// Any of a table of arguments, and some of them replaced.
type Changes<'a> = &'a [(&'a str, &'a str)];

struct Desk {
    binaries: Binaries,
    scratch: Scratch,
    key: KeyPair,
    release: Release,
}

impl Desk {
    fn new() -> Self {
        let (binaries, scratch) = (Binaries::beside_this_program().unwrap(), Scratch::new().unwrap());
        let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
        let image = scratch.join("firmware.bin");
        image::write_pseudo_random(&image, 100_000, 1).unwrap();
        let release = Release::seal(&binaries, image, &key, 1).unwrap();
        Self { binaries, scratch, key, release }
    }

    fn state(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// The command line of `send` in a namespace or here.
    fn send(&self, place: Option<&Namespace>, changes: Changes<'_>) -> Command {
        let mut command = command(place, &self.binaries.send);
        command.arg("send").arg(&self.release.image);
        let options = [("--group", "232.1.1.1"), ("--port", "5000"), ("--interface", "lo"), ("--rate", "1M")];
        command.args(changed(&options, changes));
        command
    }

    /// The command line of `receive`, for one second.
    fn receive(&self, place: Option<&Namespace>, changes: Changes<'_>) -> Command {
        let mut command = command(place, &self.binaries.recv);
        command.arg("receive").arg("--trust").arg(&self.key.public).arg("--state").arg(self.state());
        command.args(["--product", "p", "--hardware", "h", "--once"]);
        let out = self.scratch.join("out").display().to_string();
        let options = [
            ("--source", "127.0.0.1"),
            ("--group", "232.1.1.1"),
            ("--port", "5000"),
            ("--interface", "lo"),
            ("--timeout", "1s"),
            ("--out", out.as_str()),
        ];
        command.args(changed(&options, changes));
        command
    }

    fn seal(&self, image: &Path, changes: Changes<'_>) -> Command {
        let mut command = Command::new(&self.binaries.send);
        command.arg("seal").arg(image).arg("--key").arg(&self.key.secret).args(["--product", "p", "--hardware", "h"]);
        command.args(changed(&[("--version", "1"), ("--sequence", "1")], changes));
        command
    }
}

fn command(place: Option<&Namespace>, program: &Path) -> Command {
    place.map_or_else(|| Command::new(program), |place| place.command(program))
}

/// The options, with those in `changes` replaced or added; an empty value leaves one out.
fn changed(options: &[(&str, &str)], changes: Changes<'_>) -> Vec<String> {
    let kept = options.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let all = kept.chain(changes.iter().filter(|(_, value)| !value.is_empty()));
    // With "=", so that a value may start with a dash.
    all.map(|(name, value)| format!("{name}={value}")).collect()
}

#[track_caller]
fn assert_fails(mut command: Command, code: i32, messages: &[&str]) {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "{command:?}: {stderr}");
    for message in messages {
        assert!(stderr.contains(message), "{command:?}: {stderr}\nlacks {message:?}");
    }
}

#[test]
fn groups_sources_and_ports_that_make_no_channel() {
    const GROUP: &str = "use one of 232.0.1.0 to 232.255.255.255";
    let desk = Desk::new();
    for (changes, messages) in [
        (&[("--group", "10.1.1.1")][..], &["10.1.1.1 is not a multicast group", GROUP][..]),
        (&[("--group", "240.0.0.1")], &["is not a multicast group", GROUP]),
        (&[("--group", "2001:db8::1"), ("--source", "::1")], &["is not a multicast group", "ff3e::8000:0"]),
        (&[("--group", "232.0.0.0")], &["group 232.0.0.0 is reserved", GROUP]),
        (&[("--group", "232.0.0.255")], &["group 232.0.0.255 is reserved", GROUP]),
        (&[("--group", "ff3e::7fff:ffff"), ("--source", "::1")], &["is reserved", "ff3e::8000:0 to ff3e::ffff:ffff"]),
        (&[("--group", "ff3e::1:8000:0"), ("--source", "::1")], &["is reserved", "ff3e::8000:0 to ff3e::ffff:ffff"]),
        (&[("--group", "224.0.0.1")], &["control protocols of the local network", GROUP]),
        (&[("--group", "ff02::1"), ("--source", "::1")], &["control protocols of the local network"]),
        (&[("--source", "0.0.0.0")], &["source 0.0.0.0 is not a unicast address", "name the address"]),
        (&[("--source", "255.255.255.255")], &["is not a unicast address", "name the address"]),
        (&[("--source", "232.1.1.1")], &["source 232.1.1.1 is not a unicast address", "name the address"]),
        (&[("--source", "::1")], &["are of different IP versions", "use two of the same"]),
        (&[("--group", "ff3e::8000:1"), ("--source", "127.0.0.1")], &["are of different IP versions"]),
        (&[("--port", "0")], &["port 0 cannot be received", "choose one from 1 to 65535"]),
        (&[("--port", "65536")], &["65536", "--port"]),
        (&[("--port", "-1")], &["-1", "--port"]),
        (&[("--group", "everybody")], &["everybody", "--group"]),
    ] {
        assert_fails(desk.send(None, changes), USAGE, messages);
        assert_fails(desk.receive(None, changes), USAGE, messages);
    }
    // Only a receiver must be told who sends.
    assert_fails(desk.receive(None, &[("--source", "")]), USAGE, &["is source-specific", "name the sender's address"]);
    assert!(!desk.state().exists());
}

#[test]
fn numbers_that_no_sender_can_work_with() {
    let desk = Desk::new();
    for (option, value, messages) in [
        ("--rate", "0", &["is not a rate", "100M"][..]),
        ("--rate", "-5M", &["is not a rate", "100M"]),
        ("--rate", "NaN", &["is not a rate", "100M"]),
        ("--rate", "1", &["is no rate to send at", "from 1k to 1000G"]),
        ("--rate", "9000000G", &["is no rate to send at", "from 1k to 1000G"]),
        ("--ttl", "0", &["0 is not in 1..=255"]),
        ("--ttl", "256", &["256 is not in 1..=255"]),
        ("--dscp", "64", &["64 is not in 0..64"]),
        ("--passes", "0", &["write 1 or more, or forever"]),
        ("--passes", "-1", &["write 1 or more, or forever"]),
        ("--interleave", "0", &["is no number of blocks from 1 to 255", "write all"]),
        ("--interleave", "256", &["is no number of blocks from 1 to 255", "write all"]),
        ("--repair", "1001%", &["write for example 5%"]),
        ("--repair", "-1%", &["write for example 5%"]),
        ("--burst", "0", &["1 to 65536", "750us"]),
        ("--burst", "18446744073709551615", &["1 to 65536"]),
        ("--burst", "101ms", &["up to 100 ms"]),
        ("--backend", "pigeon", &["choose auto, mmsg, uring or xdp"]),
        ("--pacing", "fq", &["needs the qdisc fq on 'lo'", "use --pacing user"]),
        ("--pacing", "none", &["choose user or fq"]),
        ("--threads", "0", &["0 is not in 1..=64"]),
        ("--pin-senders", "3-1", &["write for example 0,2-3"]),
        ("--pin-workers", "1023", &["may not run on processor 1023"]),
        ("--workers", "0", &["0 is not in 1..=256"]),
        ("--workers", "100000", &["--workers"]),
        ("--tsi", "4294967296", &["--tsi"]),
        ("--profile", "udp", &["choose fleetcast, flute or no-code"]),
        ("--rate-layer", "l9", &["choose l1, l2 or ip"]),
        ("--source", "192.0.2.77", &["192.0.2.77 is no address of interface 'lo'", "it has 127.0.0.1"]),
    ] {
        let code =
            if matches!((option, value), ("--source" | "--pin-workers", _) | (_, "fq")) { ENVIRONMENT } else { USAGE };
        assert_fails(desk.send(None, &[(option, value)]), code, messages);
    }
    for (option, value, messages) in [
        ("--timeout", "0s", &["is not a positive time", "60s"][..]),
        ("--timeout", "-1s", &["is not a positive time", "60s"]),
        ("--apply", "reboot", &["choose none, file or exec:COMMAND"]),
        ("--apply", "exec:", &["choose none, file or exec:COMMAND"]),
        ("--apply", "none", &["--out has no use with --apply none"]),
    ] {
        assert_fails(desk.receive(None, &[(option, value)]), USAGE, messages);
    }
    assert!(!desk.state().exists());
}

#[test]
fn repair_that_cannot_be() {
    let desk = Desk::new();
    let long = format!("http://{}", "a".repeat(200));
    for (option, value, messages) in [
        ("--repair-url", "ftp://host/fw", &["is no URL that can be asked", "http://repair.example/firmware/"][..]),
        ("--repair-url", "https://host/fw", &["is no URL that can be asked", "http://"]),
        ("--repair-url", "http:///fw", &["is no URL that can be asked"]),
        ("--repair-url", "http://host/a b", &["without spaces"]),
        ("--repair-url", &long, &["at most 200"]),
        ("--repair-budget", "0", &["is not a positive number of bytes", "20M"]),
        ("--repair-budget", "-1", &["is not a positive number of bytes"]),
        ("--repair-budget", "lots", &["is not a positive number of bytes"]),
        ("--repair-offset", "0s", &["is not a positive time"]),
        ("--repair-period", "soon", &["is not a positive time"]),
        ("--repair-timeout", "-5s", &["is not a positive time"]),
        ("--repair-announced", "everybody", &["none, source, any"]),
    ] {
        assert_fails(desk.receive(None, &[(option, value)]), USAGE, messages);
    }
    let mut many = desk.receive(None, &[]);
    many.args((0..17).flat_map(|n| ["--repair-url".to_owned(), format!("http://host{n}/")]));
    assert_fails(many, USAGE, &["at most 16 --repair-url can be given, not 17"]);
    let mut anybody = Command::new(&desk.binaries.recv);
    anybody.args(["receive", "--trust", "none", "--group", "239.1.2.3", "--port", "5000", "--interface", "lo"]);
    anybody.arg("--state").arg(desk.state()).args(["--repair-url", "http://host/"]);
    assert_fails(anybody, USAGE, &["--repair-url has no use with --trust none"]);
    assert!(!desk.state().exists());
}

#[test]
fn a_repair_server_that_cannot_be() {
    let desk = Desk::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (changes, code, messages) in [
        (&[("--serve-repair", "8080")][..], USAGE, &["invalid socket address", "--serve-repair"][..]),
        (&[("--serve-repair", "host:8080")], USAGE, &["--serve-repair"]),
        (&[("--serve-repair", "232.1.1.1:8080")], USAGE, &["an address of this host"]),
        (&[("--serve-repair", &taken)], ENVIRONMENT, &["cannot serve repair at", "another address or port"]),
        (&[("--serve-repair", "192.0.2.1:8080")], ENVIRONMENT, &["cannot serve repair at 192.0.2.1:8080"]),
        (&[("--repair-url", "ftp://host/")], USAGE, &["is no URL to announce"]),
        (&[("--linger", "1s")], USAGE, &["--serve-repair"]),
        (&[("--serve-repair", "0.0.0.0:0"), ("--linger", "0s")], USAGE, &["is not a positive time"]),
    ] {
        assert_fails(desk.send(None, changes), code, messages);
    }
    let mut many = desk.send(None, &[]);
    many.args((0..5).map(|n| format!("--repair-url=http://host{n}/")));
    assert_fails(many, USAGE, &["5 repair URLs are too many: 4 fit an announcement"]);
}

#[test]
fn feedback_that_cannot_be() {
    let desk = Desk::new();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let port = ("--feedback", "5001");
    for (changes, code, messages) in [
        (&[("--feedback", "0")][..], USAGE, &["--feedback"][..]),
        (&[("--feedback", "70000")], USAGE, &["--feedback"]),
        (&[("--rtt", "50ms")], USAGE, &["--feedback"]),
        (&[port, ("--rtt", "0s")], USAGE, &["--rtt"]),
        (&[port, ("--rtt", "11s")], USAGE, &["is no round trip of 1 ms to 10 s"]),
        (&[port, ("--group-size", "0")], USAGE, &["--group-size"]),
        (&[port, ("--feedback-budget", "much")], USAGE, &["--feedback-budget"]),
        (&[port, ("--profile", "flute")], USAGE, &["feedback is for profile fleetcast"]),
        (&[("--feedback", &taken)], ENVIRONMENT, &["cannot take feedback at 127.0.0.1:", "another --feedback PORT"]),
    ] {
        assert_fails(desk.send(None, changes), code, messages);
    }
    let mut resident = desk.send(None, &[port, ("--repair", "auto"), ("--passes", "2")]);
    resident.arg("--resident");
    assert_fails(resident, USAGE, &["leave --resident out"]);
}

#[test]
fn reports_that_cannot_be() {
    let desk = Desk::new();
    let file = |name: &str, content: &str| {
        let path = desk.scratch.join(name).display().to_string();
        fs::write(&path, content).unwrap();
        path
    };
    let (none, bad, junk) = (file("none", "# nobody\n"), file("bad", "r1\nr 2\n"), file("junk", "{}"));
    let report = desk.scratch.join("report.json").display().to_string();
    let serve = ("--serve-repair", "127.0.0.1:0");
    for (changes, code, messages) in [
        (&[("--report", report.as_str())][..], USAGE, &["--serve-repair"][..]),
        (&[serve, ("--require", "99%")], USAGE, &["--report"]),
        (&[serve, ("--report", &report), ("--require", "101%")], USAGE, &["is not a share from 0% to 100%"]),
        (&[serve, ("--report", &report), ("--report-sample", "-1%")], USAGE, &["is not a share"]),
        (&[serve, ("--report", &report), ("--devices", "/nonexistent")], USAGE, &["cannot read the list of devices"]),
        (&[serve, ("--report", &report), ("--devices", &none)], USAGE, &["names no device", "one device id a line"]),
        (&[serve, ("--report", &report), ("--devices", &bad)], USAGE, &["line 2: 'r 2' is no device id"]),
        (&[serve, ("--report", "/nonexistent/r.json")], ENVIRONMENT, &["cannot write the report", "--report"]),
        (&[("--repair", "auto")], USAGE, &["--repair auto needs --report FILE"]),
        (&[serve, ("--report", &junk), ("--repair", "auto")], USAGE, &["is no report of a send"]),
    ] {
        assert_fails(desk.send(None, changes), code, messages);
    }
    for (changes, messages) in [
        (&[("--report-url", "ftp://host/")][..], &["is no URL that can be asked"][..]),
        (&[("--device-id", "r1")], &["--report-url"]),
        (&[("--report-url", "http://h/report"), ("--device-id", "r 1")], &["'r 1' is no device id", "letters, digits"]),
        (&[("--report-url", "http://h/report"), ("--report-sample", "200%")], &["is not a share"]),
        (&[("--report-url", "http://h/report"), ("--report-period", "0")], &["is not a positive time"]),
    ] {
        assert_fails(desk.receive(None, changes), USAGE, messages);
    }
    assert!(!desk.state().exists());
}

#[test]
fn images_and_symbols_that_cannot_be_sealed() {
    let desk = Desk::new();
    let image = desk.scratch.join("other.bin");
    fs::write(&image, "").unwrap();
    assert_fails(desk.seal(&image, &[]), USAGE, &["the image is empty", "name a file with content"]);
    // 255 blocks of K'max = 56,403 symbols are the most there is; one byte more is refused, before any of it is read.
    let most = 255 * 56_403 * 1344_u64;
    fs::File::create(&image).unwrap().set_len(most + 1).unwrap();
    let messages =
        ["19330436161 bytes", "56404 symbols, more than 56403", "choose a larger symbol size or split the image"];
    assert_fails(desk.seal(&image, &[]), USAGE, &messages);
    fs::write(&image, "content").unwrap();
    for size in ["0", "7", "1343", "65535"] {
        let messages = ["is not a positive multiple of 8 bytes", "1344 and 1408 are good choices"];
        assert_fails(desk.seal(&image, &[("--symbol-size", size)]), USAGE, &messages);
    }
    assert_fails(desk.seal(&image, &[("--symbol-size", "65536")]), USAGE, &["--symbol-size"]);
    assert_fails(desk.seal(&image, &[("--sequence", "-1")]), USAGE, &["--sequence"]);
    assert_fails(desk.seal(desk.scratch.path(), &[]), ENVIRONMENT, &["is not a regular file", "copy it into one"]);
    assert_fails(desk.seal(&desk.scratch.join("absent"), &[]), ENVIRONMENT, &["cannot map the image"]);
    assert!(!desk.scratch.join("other.bin.fcm").exists());
}

#[test]
fn manifests_that_are_not_the_image_s() {
    let desk = Desk::new();
    let sealed = fs::read(&desk.release.image).unwrap();
    let flipped: Vec<u8> = sealed.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 70_000)).collect();
    for (content, messages) in [
        (&[][..], ["the image has 0 bytes, the manifest describes one of 100000", "name the right file"]),
        (&sealed[1..], ["the image has 99999 bytes, the manifest describes one of 100000", "name the right file"]),
        (&flipped, ["source block 0 of the image is not the one in the manifest", "changed after it was sealed"]),
    ] {
        fs::write(&desk.release.image, content).unwrap();
        assert_fails(desk.send(None, &[]), VERIFICATION, &messages);
    }
    fs::write(&desk.release.image, &sealed).unwrap();
    let manifest = fs::read(&desk.release.manifest).unwrap();
    for damaged in [&manifest[..manifest.len() / 2], &[], &[0xFF; 70_000][..]] {
        fs::write(&desk.release.manifest, damaged).unwrap();
        assert_fails(desk.send(None, &[]), VERIFICATION, &["firmware.bin.fcm is no manifest"]);
    }
    fs::remove_file(&desk.release.manifest).unwrap();
    assert_fails(desk.send(None, &[]), ENVIRONMENT, &["cannot read the manifest", "`fleetcast-send seal` makes one"]);
}

/// A namespace with interfaces of every unfit kind.
fn unfit_interfaces(lock: &LabLock) -> Namespace {
    let namespace = Namespace::new(lock, "unfit").unwrap();
    let mut lines = Vec::new();
    for name in ["bare", "off", "deaf", "small"] {
        lines.push(format!("link add {name} type veth peer name {name}-far"));
        if name != "off" {
            lines.push(format!("link set {name} up"));
        }
    }
    for (net, name) in [(1, "off"), (2, "deaf"), (3, "small")] {
        lines.push(format!("addr add 10.78.{net}.1/24 dev {name}"));
    }
    lines.push("link set deaf multicast off".into());
    lines.push("link set small mtu 1300".into());
    namespace.ip(&lines).unwrap();
    namespace
}

#[test]
fn interfaces_that_cannot_carry_a_session() {
    skip_without_lab!();
    let lock = LabLock::acquire().unwrap();
    let (namespace, desk) = (unfit_interfaces(&lock), Desk::new());
    for (interface, sender, receiver) in [
        (
            "absent",
            ["there is no interface 'absent' here", "small"],
            ["there is no interface 'absent' here", "`ip link` lists them"],
        ),
        (
            "off",
            ["interface 'off' is down", "`ip link set off up`"],
            ["interface 'off' is down", "`ip link set off up`"],
        ),
        (
            "deaf",
            ["does no multicast", "`ip link set deaf multicast on`"],
            ["does no multicast", "`ip link set deaf multicast on`"],
        ),
        (
            "bare",
            ["has no IPv4 address to send from", "`ip address add`"],
            ["has no IPv4 address to join from", "`ip address add`"],
        ),
    ] {
        assert_fails(desk.send(Some(&namespace), &[("--interface", interface)]), ENVIRONMENT, &sender);
        assert_fails(desk.receive(Some(&namespace), &[("--interface", interface)]), ENVIRONMENT, &receiver);
    }
    let messages =
        ["packets of 1392 bytes (symbol size 1344) do not fit the MTU of 1300", "seal with a smaller --symbol-size"];
    assert_fails(desk.send(Some(&namespace), &[("--interface", "small")]), ENVIRONMENT, &messages);
}
