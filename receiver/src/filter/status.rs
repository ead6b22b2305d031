//! `fleetcast-recv filter status`: the filters at work on this host, and what they counted.

use fleetcast_ebpf::{Channel, FilterError, Holder, Status, Verdict, status};
use serde_json::{Map, Value, json};

/// Prints a paragraph, or with `json` an object, for each filter.
///
/// # Errors
/// Without CAP_SYS_ADMIN, and what the kernel refuses.
pub fn print(json: bool) -> Result<(), FilterError> {
    let filters = status()?;
    if filters.is_empty() && !json {
        println!("no interface has a fleetcast filter");
    }
    for filter in &filters {
        if json { println!("{}", to_json(filter)) } else { println!("{}", to_text(filter)) }
    }
    Ok(())
}

fn to_json(filter: &Status) -> Value {
    let counters: Map<String, Value> =
        Verdict::ALL.into_iter().map(|it| (it.name().to_owned(), json!(filter.counters.of(it)))).collect();
    let channels: Vec<Value> =
        filter.channels.iter().map(|(channel, holder)| channel_json(channel, holder, filter)).collect();
    json!({
        "interface": filter.attached.interface, "mode": filter.attached.mode.to_string(),
        "program_id": filter.attached.program_ids.first(), "pid": filter.owner_pid,
        "channels": channels, "dropped": filter.counters.dropped(), "counters": counters,
    })
}

fn channel_json(channel: &Channel, holder: &Holder, filter: &Status) -> Value {
    json!({
        "source": channel.source(), "group": channel.group(), "port": channel.port(), "pid": holder.pid,
        "exclusive": filter.exclusive.contains(&channel.group()),
    })
}

fn to_text(filter: &Status) -> String {
    let mut text = format!(
        "{}: {} mode, program {}\n",
        filter.attached.interface,
        filter.attached.mode,
        filter.attached.program_ids.first().copied().unwrap_or_default(),
    );
    for (channel, holder) in &filter.channels {
        let shut = if filter.exclusive.contains(&channel.group()) { ", other ports shut" } else { "" };
        let guest = if holder.is_owner() { "" } else { ", a guest" };
        let (source, group, port) = (channel.source(), channel.group(), channel.port());
        text += &format!("  lets in ({source},{group}):{port} for process {}{guest}{shut}\n", holder.pid);
    }
    for (what, is_drop) in [("passed", false), ("dropped", true)] {
        text += &format!("  {what}:");
        for verdict in Verdict::ALL.into_iter().filter(|verdict| verdict.is_drop() == is_drop) {
            text += &format!(" {} {}", filter.counters.of(verdict), verdict.name());
        }
        text.push('\n');
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_ebpf::Counters;
    use fleetcast_ebpf::interface::{Attached, Mode};

    #[test]
    fn names_the_channels_and_every_counter() {
        let channel = Channel::new("10.0.0.1".parse().unwrap(), "232.1.1.1".parse().unwrap(), 5000).unwrap();
        let attached = Attached { index: 2, interface: "eth0".into(), mode: Mode::Native, program_ids: vec![9] };
        let filter = Status {
            attached,
            owner_pid: Some(77),
            channels: vec![(channel, Holder::owner(77))],
            exclusive: vec![channel.group()],
            counters: Counters::default(),
        };
        let text = to_text(&filter);
        assert!(text.starts_with("eth0: native mode, program 9\n"), "{text}");
        assert!(text.contains("lets in (10.0.0.1,232.1.1.1):5000 for process 77, other ports shut"), "{text}");
        let json = to_json(&filter);
        assert_eq!(json["channels"][0]["exclusive"], true);
        for verdict in Verdict::ALL {
            assert!(text.contains(verdict.name()), "{text}");
            assert_eq!(json["counters"][verdict.name()], 0);
        }
    }
}
