//! What is told of the source filter.

use super::Report;
use crate::filter::{Chosen, News};
use fleetcast_ebpf::{Counters, Sample, Verdict};
use serde_json::{Value, json};

impl Report {
    /// Which filter it is.
    pub fn filter(&self, chosen: &Chosen) {
        let fields = json!({
            "filter": chosen.name, "why": chosen.why, "program_id": chosen.program_id, "owner_pid": chosen.owner_pid,
            "gro": chosen.gro,
        });
        self.events.tell("filter", fields, &format!("filter {}: {}", chosen.name, chosen.why));
    }

    /// What the filter did.
    pub fn filter_news(&self, news: &News) {
        match news {
            News::Dropped { packets, examples } => {
                let list: Vec<Value> = examples.iter().map(example).collect();
                let fields = json!({ "packets": packets, "examples": list });
                let words: Vec<String> = examples.iter().map(describe).collect();
                let such_as = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
                self.events.tell("filter_dropped", fields, &format!("filter dropped {packets} packets{such_as}"));
            }
            News::Gone { owner_pid } => {
                let whose = owner_pid.map_or("it left the interface".to_owned(), |pid| {
                    format!("process {pid}, whose it was, has ended or its interface has")
                });
                let text = format!(
                    "WARNING: the XDP filter is gone ({whose}): the socket's own filter goes on alone; start this receiver again \
                     for a new one"
                );
                self.events.tell("filter_gone", json!({ "owner_pid": owner_pid }), &text);
            }
        }
    }

    /// What the XDP filter has counted when the receiver ends.
    pub fn filtered(&self, counters: Option<Counters>) {
        let Some(counters) = counters else { return };
        let count = |verdict: Verdict| (verdict.name().to_owned(), json!(counters.of(verdict)));
        let mut fields = json!({ "dropped": counters.dropped() });
        fields["counters"] = Value::Object(Verdict::ALL.into_iter().map(count).collect());
        if self.events.is_json() || counters.dropped() > 0 {
            let reasons = Verdict::ALL.into_iter().filter(|it| it.is_drop() && counters.of(*it) > 0);
            let reasons: Vec<String> = reasons.map(|it| format!("{} {}", counters.of(it), it.name())).collect();
            let text = format!("filter dropped {} packets in all: {}", counters.dropped(), reasons.join(", "));
            self.events.tell("filtered", fields, &text);
        }
    }
}

fn example(sample: &Sample) -> Value {
    json!({
        "source": sample.source, "group": sample.group, "port": sample.port, "reason": sample.verdict.name(),
    })
}

fn describe(sample: &Sample) -> String {
    let port = sample.port.map_or(String::new(), |port| format!(" port {port}"));
    format!("{} from {} to {}{port}", sample.verdict.name(), sample.source, sample.group)
}
