//! A message as a stream keeps it, and as `STREAM.MSG.GET` gives it back.

use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

/// The header in which key-value buckets say that a message deletes its key.
pub const KV_OPERATION: &str = "KV-Operation";

/// What [`KV_OPERATION`] says of a deletion marker.
pub const KV_DELETE: &str = "DEL";

/// What [`KV_OPERATION`] says of a purge.
pub const KV_PURGE: &str = "PURGE";

const HEADER_PREAMBLE: &[u8] = b"NATS/1.0";

/// One stored message.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The subject it was published to.
    pub subject: String,
    /// Its number in its stream.
    pub sequence: u64,
    /// When it was stored, as the server wrote it (RFC 3339).
    pub time: String,
    /// Its headers in the order they were written.
    pub headers: Vec<(String, String)>,
    /// Its payload; wiped when it goes, since it may hold a sealed key.
    pub payload: Zeroizing<Vec<u8>>,
}

impl StoredMessage {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The message as the server writes it in its answer.
#[derive(Deserialize)]
pub(super) struct WireMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: Zeroizing<String>,
    #[serde(default)]
    time: String,
}

impl WireMessage {
    /// The message, if its parts can be decoded.
    pub(super) fn decode(self) -> Option<StoredMessage> {
        let headers = BASE64.decode(self.hdrs.as_bytes()).ok()?;
        Some(StoredMessage {
            subject: self.subject,
            sequence: self.seq,
            time: self.time,
            headers: parse_headers(&headers)?,
            payload: Zeroizing::new(BASE64.decode(self.data.as_bytes()).ok()?),
        })
    }
}

fn parse_headers(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let lines = std::str::from_utf8(bytes.strip_prefix(HEADER_PREAMBLE)?).ok()?;
    // The first line may carry a status after the preamble; the last ones are empty.
    let fields = lines.split("\r\n").skip(1).filter(|line| !line.is_empty());
    fields
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim_start().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_server_stores_them() {
        let stored = b"NATS/1.0\r\nKV-Operation: DEL\r\nMutation:ab\r\n\r\n";
        let headers = parse_headers(stored).unwrap();
        assert_eq!(
            headers,
            [("KV-Operation".to_owned(), "DEL".to_owned()), ("Mutation".into(), "ab".into())]
        );
        assert_eq!(parse_headers(b""), Some(Vec::new()));
        for rubbish in [&b"HTTP/1.1\r\n"[..], b"NATS/1.0\r\nno colon\r\n", b"NATS/1.0\r\n\xff:a"] {
            assert_eq!(parse_headers(rubbish), None, "{rubbish:?}");
        }
    }

    #[test]
    fn a_message_whose_parts_are_no_base64_is_none() {
        let wire = |data: &str| -> WireMessage {
            serde_json::from_value(serde_json::json!({"subject": "s", "seq": 3, "data": data}))
                .unwrap()
        };
        let message = wire("aGk=").decode().unwrap();
        assert_eq!((message.sequence, &message.payload[..]), (3, &b"hi"[..]));
        assert!(wire("a!").decode().is_none());
    }
}
