//! A real server on loopback, and plain sockets as clients.

use super::*;
use fleetcast_protocol::fleet::{DeviceReport, DeviceState};
use std::io::{Read, Write};
use std::net::Ipv4Addr;

const MANIFEST: &[u8] = b"the manifest";

struct Desk {
    folder: tempfile::TempDir,
    server: Server,
    watch: Arc<Watch>,
    content: Vec<u8>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        std::fs::write(folder.path().join("image"), &content).unwrap();
        let image = Image::open(&folder.path().join("image")).unwrap();
        let watch = Arc::new(Watch::new([1; 32], Vec::new(), Duration::from_secs(60)));
        let content_served = Content::new(&image, "a b.bin", MANIFEST, Some(Arc::clone(&watch))).unwrap();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let server = Server::start((loopback, 0).into(), loopback, content_served).unwrap();
        Self { folder, server, watch, content }
    }

    fn connect(&self) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Status line and headers, and the body.
    fn request(&self, head: &str) -> (String, Vec<u8>) {
        let mut stream = self.connect();
        stream.write_all(format!("{head}\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
    }
}

#[test]
fn gives_ranges_the_manifest_and_counts_them() {
    let desk = Desk::new();
    assert_eq!(desk.server.url(), format!("http://{}/a%20b.bin", desk.server.address()));
    let (head, body) = desk.request("GET /a%20b.bin HTTP/1.1\r\nRange: bytes=1000-2343");
    assert!(head.starts_with("http/1.1 206") && head.contains("content-range: bytes 1000-2343/100000"), "{head}");
    assert_eq!(body, desk.content[1000..2344]);
    let (head, body) = desk.request("GET /a%20b.bin HTTP/1.1");
    assert!(head.starts_with("http/1.1 200") && body == desk.content, "{head}");
    assert!(desk.request("GET /a%20b.bin HTTP/1.1\r\nRange: bytes=200000-200001").0.starts_with("http/1.1 416"));
    assert_eq!(desk.request("GET /a%20b.bin.fcm HTTP/1.1").1, MANIFEST);
    let (head, body) = desk.request("HEAD /a%20b.bin HTTP/1.1");
    assert!(head.contains("content-length: 100000") && body.is_empty(), "{head}");
    for path in ["/", "/image", "/../image", "/%2e%2e/etc/passwd", "/a%20b.bin/", "/proc/self/fd/3"] {
        assert!(desk.request(&format!("GET {path} HTTP/1.1")).0.starts_with("http/1.1 404"), "{path}");
    }
    assert!(desk.request("POST /a%20b.bin HTTP/1.1\r\nContent-Length: 0").0.starts_with("http/1.1 405"));
    let (_, metrics) = desk.request("GET /metrics HTTP/1.1");
    let metrics = String::from_utf8(metrics).unwrap();
    for line in [
        "fleetcast_repair_answers_total{status=\"206\"} 1",
        "fleetcast_repair_answers_total{status=\"404\"} 6",
        "fleetcast_repair_answers_total{status=\"416\"} 1",
        "fleetcast_repair_image_ranges_total 1",
        "fleetcast_repair_connections_total 13",
        "fleetcast_repair_open_connections 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert_eq!(desk.server.given().1, 1);
    assert!(desk.server.given().0 > 101_344);
}

#[test]
fn one_connection_takes_many_requests() {
    let desk = Desk::new();
    let mut stream = desk.connect();
    for at in (0..90_000).step_by(30_000) {
        let request = format!("GET /a%20b.bin HTTP/1.1\r\nHost: h\r\nRange: bytes={at}-{}\r\n\r\n", at + 9);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(&desk.content[at..at + 10]) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    }
}

#[test]
fn a_changed_image_is_not_served_and_a_renamed_one_is() {
    let desk = Desk::new();
    let path = desk.folder.path().join("image");
    let held = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::fs::write(desk.folder.path().join("other"), "other").unwrap();
    std::fs::rename(desk.folder.path().join("other"), &path).unwrap();
    let (_, body) = desk.request("GET /a%20b.bin HTTP/1.1\r\nRange: bytes=0-9");
    assert_eq!(body, desk.content[..10], "what is being sent, whatever has its name");
    held.set_len(50_000).unwrap();
    let (head, body) = desk.request("GET /a%20b.bin HTTP/1.1\r\nRange: bytes=0-9");
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, b"the image was changed since the send began");
}

#[test]
fn who_speaks_no_http_or_a_head_without_end_is_dropped() {
    let desk = Desk::new();
    for junk in [vec![0x16; 500], [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 100_000]].concat()] {
        let mut stream = desk.connect();
        // The server may end the connection before it has all.
        let _ = stream.write_all(&junk);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 500, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(desk.request("GET /a%20b.bin HTTP/1.1\r\nRange: bytes=0-9").0.starts_with("http/1.1 206"));
}

#[test]
fn an_address_that_is_taken_is_told() {
    let desk = Desk::new();
    let image = Image::open(&desk.folder.path().join("image")).unwrap();
    let content = Content::new(&image, "a", MANIFEST, None).unwrap();
    let error = Server::start(desk.server.address(), desk.server.address().ip(), content).unwrap_err();
    assert!(error.to_string().contains("--serve-repair"), "{error}");
}

#[test]
fn many_idle_connections_leave_the_others_served() {
    let desk = Desk::new();
    let idle: Vec<_> = (0..100).map(|_| desk.connect()).collect();
    assert!(desk.request("GET /a%20b.bin HTTP/1.1\r\nRange: bytes=0-9").0.starts_with("http/1.1 206"));
    drop(idle);
}

#[test]
fn takes_reports_and_nothing_else() {
    let desk = Desk::new();
    let post = |path: &str, body: &[u8]| {
        let mut stream = desk.connect();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let report = DeviceReport {
        device: "r1".parse().unwrap(),
        manifest_digest: [1; 32],
        counter: 1,
        state: DeviceState::Committed,
        loss_ppm: None,
        fetched_bytes: 0,
    };
    assert_eq!(post("/report", &report.to_cbor()), "204");
    assert_eq!(desk.watch.tally().done(), 1);
    assert_eq!(post("/report", b"junk"), "400");
    assert_eq!(post("/report", &[0; 100_000]), "400");
    assert_eq!(post("/a%20b.bin", &report.to_cbor()), "405");
    assert!(desk.request("GET /report HTTP/1.1").0.starts_with("http/1.1 405"));
    assert_eq!(desk.watch.tally().total(), 1);
}
