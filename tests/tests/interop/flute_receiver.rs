//! The receiver of the crate `flute` at its default settings, with writers that compare what it writes with what was
//! sent, byte by byte.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use fleetcast_protocol::manifest::SignedManifest;
use flute::core::UDPEndpoint;
use flute::receiver::MultiReceiver;
use flute::receiver::writer::{ObjectMetadata, ObjectWriter, ObjectWriterBuilder, ObjectWriterBuilderResult};

use crate::content::Content;
use crate::stream::Stream;

/// What came of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes written that are the right ones.
    pub right: u64,
    /// Bytes written that are not.
    pub wrong: u64,
    /// Times that it was completed.
    pub completed: u32,
    /// Times that it was given up.
    pub failed: u32,
}

/// What came of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub image: Received,
    pub manifest: Received,
    /// FDT instances taken.
    pub fdts: u32,
    /// Packets that were errors to it.
    pub refused_packets: u32,
}

impl Outcome {
    /// Asserts that it has the whole image and the whole manifest, with no wrong byte and nothing given up.
    pub fn assert_whole(&self, stream: &Stream) {
        let whole = |right| Received { right, wrong: 0, completed: 1, failed: 0 };
        assert_eq!(self.image, whole(stream.partition().image_len()), "{self:?}");
        assert_eq!(self.manifest, whole(stream.manifest().bytes().len() as u64), "{self:?}");
        assert_eq!(self.refused_packets, 0, "{self:?}");
        assert!(self.fdts > 0);
    }
}

/// The receiver and what it has written.
pub struct FluteReceiver {
    receiver: MultiReceiver,
    endpoint: UDPEndpoint,
    outcome: Rc<RefCell<Outcome>>,
    packets: u64,
}

impl FluteReceiver {
    /// For an image of this content and this manifest.
    pub fn new(content: Content, manifest: &[u8]) -> Self {
        let outcome = Rc::new(RefCell::new(Outcome::default()));
        let name = SignedManifest::parse_unverified(manifest).unwrap().manifest().name.clone();
        let builder = Builder { outcome: Rc::clone(&outcome), content, manifest: Rc::from(manifest), name };
        let endpoint = UDPEndpoint::new(None, "232.1.1.1".into(), 5_000);
        Self { receiver: MultiReceiver::new(Rc::new(builder), None, false), endpoint, outcome, packets: 0 }
    }

    pub fn push(&mut self, packet: &[u8]) {
        let now = SystemTime::now();
        if self.receiver.push(&self.endpoint, packet, now).is_err() {
            self.outcome.borrow_mut().refused_packets += 1;
        }
        self.packets += 1;
        if self.packets.is_multiple_of(1_000) {
            self.receiver.cleanup(now);
        }
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }
}

#[derive(Clone)]
struct Builder {
    outcome: Rc<RefCell<Outcome>>,
    content: Content,
    manifest: Rc<[u8]>,
    /// Of the image, by its manifest.
    name: String,
}

impl ObjectWriterBuilder for Builder {
    fn new_object_writer(
        &self,
        _: &UDPEndpoint,
        _: &u64,
        toi: &u128,
        meta: &ObjectMetadata,
        _: SystemTime,
    ) -> ObjectWriterBuilderResult {
        let is_image = *toi == 2;
        let location = if is_image { self.name.clone() } else { format!("{}.fcm", self.name) };
        assert_eq!((meta.content_location.as_str(), *toi), (location.as_str(), if is_image { 2 } else { 1 }));
        ObjectWriterBuilderResult::StoreObject(Box::new(Writer { all: self.clone(), is_image, at: Cell::new(0) }))
    }

    fn update_cache_control(&self, _: &UDPEndpoint, _: &u64, _: &u128, _: &ObjectMetadata, _: SystemTime) {}

    fn fdt_received(
        &self,
        _: &UDPEndpoint,
        _: &u64,
        xml: &str,
        _: SystemTime,
        _: &ObjectMetadata,
        _: Duration,
        _: SystemTime,
        ext_time: Option<SystemTime>,
    ) {
        assert!(xml.contains("urn:ietf:params:xml:ns:fdt"), "{xml}");
        assert!(ext_time.is_some(), "our EXT_TIME was not read");
        self.outcome.borrow_mut().fdts += 1;
    }
}

struct Writer {
    all: Builder,
    is_image: bool,
    at: Cell<u64>,
}

impl Writer {
    fn count(&self, count: impl FnOnce(&mut Received)) {
        let mut outcome = self.all.outcome.borrow_mut();
        count(if self.is_image { &mut outcome.image } else { &mut outcome.manifest });
    }

    fn expected(&self, at: u64, len: usize) -> Vec<u8> {
        if self.is_image {
            // Blocks begin at whole symbols, which are whole words.
            return self.all.content.read(at, len);
        }
        let at = usize::try_from(at).unwrap();
        self.all.manifest.get(at..).unwrap_or_default().iter().copied().take(len).collect()
    }
}

impl ObjectWriter for Writer {
    fn open(&self, _: SystemTime) -> flute::error::Result<()> {
        Ok(())
    }

    fn write(&self, _: u32, data: &[u8], _: SystemTime) -> flute::error::Result<()> {
        let at = self.at.replace(self.at.get() + data.len() as u64);
        let is_right = self.expected(at, data.len()) == data;
        self.count(|received| *(if is_right { &mut received.right } else { &mut received.wrong }) += data.len() as u64);
        Ok(())
    }

    fn complete(&self, _: SystemTime) {
        self.count(|received| received.completed += 1);
    }

    fn error(&self, _: SystemTime) {
        self.count(|received| received.failed += 1);
    }

    fn interrupted(&self, now: SystemTime) {
        self.error(now);
    }

    fn enable_md5_check(&self) -> bool {
        false
    }
}
