//! HTTP by hand, so that a test can send what no client library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use membership_operator::service::digest::BodyDigest;
use membership_operator::service::signature::Target;
use serde_json::Value;

/// No answer takes longer than this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody with a key.
#[derive(Clone)]
pub struct Caller(SigningKey);

impl Caller {
    /// The n-th caller, the same in every run.
    pub fn new(n: u8) -> Self {
        Self(SigningKey::from_bytes(&[n; 32]))
    }

    pub fn key(&self) -> String {
        data_encoding::HEXLOWER.encode(self.0.verifying_key().as_bytes())
    }
}

/// A request to be signed and sent.
#[derive(Clone)]
pub struct Sending {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    pub nonce: String,
    pub created: u64,
    pub headers: Vec<(String, String)>,
}

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn nonce() -> String {
    (0..24).map(|_| fastrand::alphanumeric()).collect()
}

impl Sending {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            body: Vec::new(),
            nonce: nonce(),
            created: now(),
            headers: Vec::new(),
        }
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("Content-Type", "application/json")
    }

    pub fn nonce(mut self, nonce: &str) -> Self {
        nonce.clone_into(&mut self.nonce);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The headers that a signer adds, for a server of this name.
    pub fn signed_headers(&self, caller: &Caller, authority: &str) -> Vec<(String, String)> {
        let digest = BodyDigest::of(&self.body).field();
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let target =
            Target { method: &self.method, authority, path, query, content_digest: &digest };
        let (input, signature) = target.sign(&caller.0, self.created, &self.nonce.parse().unwrap());
        [
            ("Host", authority.to_owned()),
            ("Content-Digest", digest),
            ("Signature-Input", input),
            ("Signature", signature),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The whole request with these headers and its own.
    pub fn bytes(&self, headers: &[(String, String)]) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in headers.iter().chain(&self.headers) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        text.push_str("Connection: close\r\n\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it and waits only so long for the answer; gives the connection when none came. What
    /// becomes of the request, the caller does not learn.
    pub fn send_within(
        &self,
        at: SocketAddr,
        caller: &Caller,
        patience: Duration,
    ) -> Result<Reply, TcpStream> {
        let mut stream = connect(at);
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(&self.bytes(&self.signed_headers(caller, &at.to_string()))).unwrap();
        answer(&mut stream).ok_or(stream)
    }

    pub fn send(self, at: SocketAddr, caller: &Caller) -> Reply {
        let headers = self.signed_headers(caller, &at.to_string());
        raw(at, &self.bytes(&headers))
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same without what differs between any two answers.
    pub fn bare(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }

    /// What it says, as it went well with this status.
    #[track_caller]
    pub fn done(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }

    /// The sentence of a refusal of this type.
    #[track_caller]
    pub fn refused(self, status: u16, slug: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let kind = format!("https://membership.unibus.dev/problems/{slug}");
        assert_eq!(self.body["type"], kind.as_str(), "{self:?}");
        assert_eq!(self.body["status"], status);
        self.body["detail"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes and reads the answer to its end.
pub fn raw(at: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = connect(at);
    // A server that refuses early does not read to the end.
    let _ = stream.write_all(bytes);
    answer(&mut stream).expect("an answer")
}

pub fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One answer that ends with its connection or its length; none when the connection was cut.
pub fn answer(stream: &mut TcpStream) -> Option<Reply> {
    let mut bytes = Vec::new();
    let mut piece = [0; 8192];
    loop {
        if let Some(reply) = parse(&bytes) {
            return Some(reply);
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(&piece[..read]),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        })
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?;
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    let body = match body {
        [] => Value::Null,
        _ => serde_json::from_slice(body).unwrap_or_else(|_| text()),
    };
    Some(Reply { status, headers, body })
}

/// A plain request of nobody, as a probe or a browser sends it.
pub fn get(at: SocketAddr, path: &str) -> Reply {
    raw(at, format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").as_bytes())
}
