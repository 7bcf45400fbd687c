//! Signed callers of a membership service on the bed, by the address that it has there: each works in
//! the network of a node.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use membership_operator::service::digest::BodyDigest;
use membership_operator::service::signature::Target;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::subject::Subject;

/// How long a node may take to let a caller in, and the service to answer.
const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(15);

/// Somebody with a key.
#[derive(Clone)]
pub struct Caller(SigningKey);

impl Caller {
    /// The n-th caller, the same in every run.
    pub fn new(n: u64) -> Self {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        Self(SigningKey::from_bytes(&seed))
    }

    pub fn key(&self) -> String {
        data_encoding::HEXLOWER.encode(self.0.verifying_key().as_bytes())
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Said {
    /// It was answered.
    Answer { status: u16, body: Value, retry_after: bool },
    /// Nobody took it.
    NotSent,
    /// It was taken, and then nothing was heard.
    Nothing,
}

impl Said {
    pub const fn status(&self) -> u16 {
        match self {
            Self::Answer { status, .. } => *status,
            Self::NotSent | Self::Nothing => 0,
        }
    }

    /// Whether it says clearly that nothing was done, and when to come again.
    pub fn refuses(&self) -> bool {
        match self {
            Self::Answer { status, retry_after, .. } => *status == 503 && *retry_after,
            Self::NotSent => true,
            Self::Nothing => false,
        }
    }
}

/// The way to a service, from a node.
#[derive(Clone)]
pub struct Reach {
    service: SocketAddr,
    network: PathBuf,
}

impl Reach {
    pub fn of(subject: Subject<'_>, node: &str) -> Self {
        let Subject { bed, namespace, name } = subject;
        let service = bed.get(namespace, &format!("service/{name}-membershipd")).unwrap();
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        let port = &service["spec"]["ports"][0]["port"];
        let network = bed.machines().node(node).unwrap().network().unwrap();
        Self { service: format!("{address}:{port}").parse().unwrap(), network }
    }

    /// From the same node to one pod of it, whether the Service leads there or not.
    pub fn at(&self, pod: IpAddr) -> Self {
        Self { service: SocketAddr::new(pod, self.service.port()), network: self.network.clone() }
    }

    /// Asks something once, from there.
    pub fn ask(&self, caller: u64, method: &'static str, path: &'static str, body: &Value) -> Said {
        let body = body.to_string();
        let ask = move |to: &Self| to.send(&Caller::new(caller), method, path, &body);
        self.spawn(ask).join().unwrap()
    }

    /// A thread that is on the node from its first moment on.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let reach = self.clone();
        thread::spawn(move || {
            let there = File::open(&reach.network).unwrap();
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(there.as_fd(), kind).unwrap();
            work(&reach)
        })
    }

    /// Signs a request and sends it, once.
    pub fn send(&self, caller: &Caller, method: &str, path: &str, body: &str) -> Said {
        let Ok(stream) = TcpStream::connect_timeout(&self.service, CONNECT) else {
            return Said::NotSent;
        };
        converse(stream, &request(caller, method, path, body)).unwrap_or(Said::Nothing)
    }
}

fn request(caller: &Caller, method: &str, path: &str, body: &str) -> String {
    let (digest, authority) = (BodyDigest::of(body.as_bytes()).field(), "membership");
    let nonce: String = (0..24).map(|_| fastrand::alphanumeric()).collect();
    let target = Target { method, authority, path, query: "", content_digest: &digest };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (input, signature) = target.sign(&caller.0, now, &nonce.parse().unwrap());
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Digest: {digest}\r\n\
         Signature-Input: {input}\r\nSignature: {signature}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn converse(mut stream: TcpStream, request: &str) -> Option<Said> {
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let retry_after = head.to_lowercase().contains("\r\nretry-after:");
    Some(Said::Answer { status, body: serde_json::from_str(body).unwrap_or_default(), retry_after })
}
