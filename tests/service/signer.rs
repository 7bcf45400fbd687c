//! A proxy that signs: what comes with the word for it is signed by our own client code and sent on,
//! everything else goes as it is. So a program that knows nothing of signatures can use the service.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::http::{Caller, PATIENCE, Sending, connect};

/// In place of a signature: please sign.
pub const PLEASE: &str = "please";

/// Who signs a request to this path by this method.
pub type Signer = fn(method: &str, path: &str) -> u8;

/// What becomes of the answer to a signed request on its way back.
pub type Change = fn(Vec<u8>) -> Vec<u8>;

/// A proxy in front of a service, until it is dropped.
pub struct Proxy {
    pub at: SocketAddr,
    over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn before(service: SocketAddr, signer: Signer, change: Change) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let listening = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                for client in listener.incoming() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let client = client.unwrap();
                    thread::spawn(move || relay(client, service, signer, change));
                }
            })
        };
        Self { at, over, listening: Some(listening) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It sees that it is over once somebody comes.
        let _ = TcpStream::connect(self.at);
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

/// One request and its answer, after which the connection ends.
fn relay(mut client: TcpStream, service: SocketAddr, signer: Signer, change: Change) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let Some(mut sending) = request(&mut client) else {
        return;
    };
    let mut please = false;
    sending.headers.retain(|(name, value)| {
        please |= name == "signature" && value == PLEASE;
        !["host", "content-length", "connection"].contains(&name.as_str()) && value != PLEASE
    });
    let authority = service.to_string();
    let path = sending.path.split('?').next().unwrap();
    // The document is there for everybody.
    please &= path != "/openapi.json";
    let headers = if please {
        sending.signed_headers(&Caller::new(signer(&sending.method, path)), &authority)
    } else {
        vec![("Host".to_owned(), authority)]
    };
    let mut there = connect(service);
    // A service that refuses early does not read to the end.
    let _ = there.write_all(&sending.bytes(&headers));
    let mut answer = Vec::new();
    let _ = there.read_to_end(&mut answer);
    let _ = client.write_all(&if please { change(answer) } else { answer });
}

fn request(client: &mut TcpStream) -> Option<Sending> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 8192]);
    loop {
        if let Some(sending) = parsed(&bytes) {
            return Some(sending);
        }
        match client.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(&piece[..read]),
        }
    }
}

fn parsed(bytes: &[u8]) -> Option<Sending> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(Sending { body, headers, ..Sending::new(method, path) })
}
