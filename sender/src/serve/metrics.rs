//! What operators see of the server, in the text format of Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The status of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

/// Counters of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Counter,
    open_connections: Gauge,
    answers: Family<Status, Counter>,
    body_bytes: Counter,
    image_ranges: Counter,
}

impl Metrics {
    /// Nothing was counted yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("fleetcast_repair"),
            connections: Counter::default(),
            open_connections: Gauge::default(),
            answers: Family::default(),
            body_bytes: Counter::default(),
            image_ranges: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("connections", "Connections that were accepted", metrics.connections.clone());
        registry.register("open_connections", "Connections now", metrics.open_connections.clone());
        registry.register("answers", "Answers by status", metrics.answers.clone());
        registry.register("body_bytes", "Bytes of bodies that were given to clients", metrics.body_bytes.clone());
        registry.register("image_ranges", "Ranges of the image that were given", metrics.image_ranges.clone());
        metrics
    }

    /// A connection, counted as open until what this returns is dropped.
    pub fn connection(&self) -> impl Drop + use<> {
        self.connections.inc();
        self.open_connections.inc();
        Open(self.open_connections.clone())
    }

    /// An answer with this status.
    pub fn answer(&self, status: u16) {
        self.answers.get_or_create(&Status { status }).inc();
    }

    /// A range of the image.
    pub fn image_range(&self) {
        self.image_ranges.inc();
    }

    /// Counts bytes of bodies.
    pub fn body_bytes(&self) -> Counter {
        self.body_bytes.clone()
    }

    /// Bytes of bodies, and ranges of the image.
    pub fn totals(&self) -> (u64, u64) {
        (self.body_bytes.get(), self.image_ranges.get())
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
