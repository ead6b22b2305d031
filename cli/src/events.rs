//! Events: a progress bar and lines of text for people on standard error, one JSON object a line for scripts on standard
//! output.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Time between two progress events.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Tells events to people or to scripts.
#[derive(Debug)]
pub struct Events {
    json: bool,
    bar: Option<ProgressBar>,
}

impl Events {
    /// Events as JSON, or for people.
    pub fn new(json: bool) -> Self {
        Self { json, bar: None }
    }

    /// Whether events are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One event: `fields`, an object, for scripts; `text` for people.
    pub fn tell(&self, name: &str, fields: Value, text: &str) {
        if self.json {
            // A reader that went away must not stop the transfer.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", event_object(name, fields)).and_then(|()| out.flush());
        } else if let Some(bar) = &self.bar {
            bar.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    /// Shows a bar of `len` steps if people watch on a terminal; `None` when there is no end.
    pub fn start_bar(&mut self, len: Option<u64>, template: &str) {
        if self.json || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = len.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar = Some(bar);
    }

    /// Moves the bar, if there is one.
    pub fn move_bar(&self, position: u64, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(message);
        }
    }

    /// Takes the bar away.
    pub fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn event_object(name: &str, fields: Value) -> Value {
    let mut event = Map::from_iter([("event".to_owned(), json!(name))]);
    if let Value::Object(fields) = fields {
        event.extend(fields);
    }
    Value::Object(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_its_name() {
        let event = event_object("joined", json!({ "group": "232.1.1.1", "text": "two\nlines" })).to_string();
        assert!(event.starts_with(r#"{"event":"joined""#), "{event}");
        assert!(!event.contains('\n'));
    }
}
