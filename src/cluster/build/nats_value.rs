//! The values of a NATS configuration and how they are written down. Text is always quoted and
//! escaped, so that nothing which comes from a resource can become an include, a variable or
//! another key.

use std::fmt::Write;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number. Sizes are whole bytes: the server refuses `10Gi`.
    Number(i64),
    /// A switch.
    Switch(bool),
    /// A text.
    Text(String),
    /// What this environment variable of the server holds. Never named by a resource.
    Environment(&'static str),
    /// A list.
    List(Vec<Value>),
    /// A block of keys.
    Block(Block),
}

/// Keys with their values, in the order of writing.
pub(super) type Block = Vec<(&'static str, Value)>;

/// A text value.
pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// A list of texts.
pub(super) fn texts<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Value {
    Value::List(items.into_iter().map(text).collect())
}

/// The whole configuration as text.
pub(super) fn render(block: &Block) -> String {
    let mut out = String::new();
    write_block(&mut out, block, 0);
    out
}

fn write_block(out: &mut String, block: &Block, depth: usize) {
    for (key, value) in block {
        indent(out, depth);
        out.push_str(key);
        out.push_str(": ");
        write_value(out, value, depth);
        out.push('\n');
    }
}

fn write_value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Switch(on) => out.push_str(if *on { "true" } else { "false" }),
        Value::Text(text) => write_text(out, text),
        Value::Environment(variable) => {
            out.push('$');
            out.push_str(variable);
        }
        Value::List(items) => {
            out.push_str("[\n");
            for item in items {
                indent(out, depth + 1);
                write_value(out, item, depth + 1);
                out.push('\n');
            }
            indent(out, depth);
            out.push(']');
        }
        Value::Block(block) => {
            out.push_str("{\n");
            write_block(out, block, depth + 1);
            indent(out, depth);
            out.push('}');
        }
    }
}

/// The parser knows `\xXX`, `\t`, `\n`, `\r`, `\"` and `\\` and refuses everything else, `\u` too.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn indent(out: &mut String, depth: usize) {
    out.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_always_quoted_and_escaped() {
        let table = [
            ("plain", r#""plain""#),
            ("$HOME", r#""$HOME""#),
            ("include secrets", r#""include secrets""#),
            ("a\"b}\\ #c", r#""a\"b}\\ #c""#),
            ("line\nbreak\u{1f}", r#""line\x0Abreak\x1F""#),
        ];
        for (raw, written) in table {
            assert_eq!(render(&vec![("key", text(raw))]), format!("key: {written}\n"));
        }
    }
}
