//! A caller that signs each request and keeps its connection, as a gateway does.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use ed25519_dalek::SigningKey;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use membership_operator::service::digest::BodyDigest;
use membership_operator::service::signature::Target;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::http::{nonce, now};

pub struct Client {
    at: SocketAddr,
    authority: String,
    key: SigningKey,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(at: SocketAddr, key: SigningKey) -> Self {
        Self { at, authority: at.to_string(), key, connection: None }
    }

    /// Sends a request and reads its answer, which must be a good one.
    pub async fn ask(&mut self, method: &str, path: &str, body: Bytes) -> Value {
        let request = self.signed(method, path, body);
        let mut connection = match self.connection.take().filter(|one| !one.is_closed()) {
            Some(connection) => connection,
            None => connect(self.at).await,
        };
        connection.ready().await.unwrap();
        let answer = connection.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        self.connection = Some(connection);
        serde_json::from_slice(&body).unwrap()
    }

    fn signed(&self, method: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let digest = BodyDigest::of(&body).field();
        let authority = self.authority.as_str();
        let target = Target { method, authority, path, query: "", content_digest: &digest };
        let (input, signature) = target.sign(&self.key, now(), &nonce().parse().unwrap());
        Request::builder()
            .method(method)
            .uri(path)
            .header("Host", authority)
            .header("Content-Type", "application/json")
            .header("Content-Digest", &digest)
            .header("Signature-Input", input)
            .header("Signature", signature)
            .body(Full::from(body))
            .unwrap()
    }
}

async fn connect(at: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (connection, talk) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(talk);
    connection
}
