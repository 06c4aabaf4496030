//! The log of a run with `--log-format json`: one object a line, between lines of the command's output.

use serde_json::{Map, Value};

/// One line of the log with a field `event`.
#[derive(Clone, Debug)]
pub struct Event {
    fields: Map<String, Value>,
}

impl Event {
    /// Parses one line. Returns `None` if it is not an event.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let Ok(Value::Object(mut line)) = serde_json::from_str(line) else { return None };
        // The default layout of the subscriber nests the fields, the flattened layout does not.
        let fields = match line.remove("fields") {
            Some(Value::Object(fields)) => fields,
            _ => line,
        };
        fields.contains_key("event").then_some(Event { fields })
    }

    /// All events in `log`, in order.
    #[must_use]
    pub fn all(log: &str) -> Vec<Self> {
        log.lines().filter_map(Event::parse).collect()
    }

    /// Name of the event.
    #[must_use]
    pub fn name(&self) -> &str {
        self.fields.get("event").and_then(Value::as_str).unwrap_or_default()
    }

    /// A field as plain text: strings without quotes, numbers in decimal; `None` if it is absent or null.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// A numeric field; 0 if it is absent or not a number.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.fields.get(name).and_then(Value::as_u64).unwrap_or_default()
    }
}
