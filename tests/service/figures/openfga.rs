//! OpenFGA on SQLite, asked over gRPC at its strongest consistency: an authorisation service that
//! people use instead. The few messages that are needed are written by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream as Plain};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Request;
use h2::client::SendRequest;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::tools::{Program, ensure_one};
use tokio::net::TcpStream;

use super::world::{USERS, World, room, rooms_of};
use crate::http::PATIENCE;

/// How many tuples one write brings.
const BATCH: usize = 500;

/// `ConsistencyPreference.HIGHER_CONSISTENCY`.
const HIGHER_CONSISTENCY: u64 = 200;

pub struct OpenFga {
    process: Child,
    _folder: TempDir,
    grpc: SocketAddr,
    http: SocketAddr,
    store: String,
    model: String,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl OpenFga {
    /// A server with the same membership as ours.
    pub fn filled(world: &World) -> Self {
        let program = ensure_one(Program::OpenFga).unwrap();
        let folder = TempDir::new().unwrap();
        let uri = format!("file:{}", folder.path().join("openfga.db").display());
        let kept = ["--datastore-engine", "sqlite", "--datastore-uri", uri.as_str()];
        let migrated = Command::new(&program).arg("migrate").args(kept).output().unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
        let (grpc, http) = (free(), free());
        let process = Command::new(&program)
            .arg("run")
            .args(kept)
            .args(["--grpc-addr", &grpc.to_string(), "--http-addr", &http.to_string()])
            .args(["--playground-enabled=false", "--metrics-enabled=false", "--log-level=error"])
            .args(["--max-tuples-per-write", &BATCH.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (store, model) = Default::default();
        let mut server = Self { process, _folder: folder, grpc, http, store, model };
        server.wait();
        let made = server.post("/stores", &json!({"name": "bench"}));
        made["id"].as_str().unwrap().clone_into(&mut server.store);
        let made = server
            .post(&format!("/stores/{}/authorization-models", server.store), &model_document());
        made["authorization_model_id"].as_str().unwrap().clone_into(&mut server.model);
        server.fill(world);
        server
    }

    fn wait(&self) {
        let begun = Instant::now();
        while Plain::connect(self.http).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn fill(&self, world: &World) {
        let path = format!("/stores/{}/write", self.store);
        let tuple = |user: String, relation: &str, object: String| json!({"user": user, "relation": relation, "object": object});
        let active = world
            .users
            .iter()
            .map(|key| tuple(format!("user:{key}"), "active", "system:all".to_owned()));
        let rooms = (0..super::world::ROOMS)
            .map(|n| tuple("system:all".to_owned(), "system", format!("room:{}", room(n))));
        let members = (0..USERS).flat_map(|user| rooms_of(user).map(move |room| (user, room)));
        let members = members.map(|(user, n)| {
            tuple(
                format!("user:{}", world.users[user as usize]),
                "member",
                format!("room:{}", room(n)),
            )
        });
        let all: Vec<Value> = active.chain(rooms).chain(members).collect();
        for keys in all.chunks(BATCH) {
            let body = json!({
                "authorization_model_id": self.model, "writes": {"tuple_keys": keys}
            });
            self.post(&path, &body);
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut stream = Plain::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.http,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        assert!(status.starts_with('2'), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    pub fn process(&self) -> u32 {
        self.process.id()
    }

    pub async fn connect(&self) -> Checker {
        let stream = TcpStream::connect(self.grpc).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, talk) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(talk);
        let uri = format!("http://{}/openfga.v1.OpenFGAService/Check", self.grpc);
        Checker { sender, uri, store: self.store.clone(), model: self.model.clone() }
    }
}

impl Drop for OpenFga {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// "The user is active, and a member of the room."
fn model_document() -> Value {
    let this = json!({"this": {}});
    let direct = |kind: &str| json!({"directly_related_user_types": [{"type": kind}]});
    let can_act = json!({"intersection": {"child": [
        {"computedUserset": {"relation": "member"}},
        {"tupleToUserset": {
            "tupleset": {"relation": "system"}, "computedUserset": {"relation": "active"}
        }}
    ]}});
    json!({"schema_version": "1.1", "type_definitions": [
        {"type": "user"},
        {
            "type": "system",
            "relations": {"active": this},
            "metadata": {"relations": {"active": direct("user")}}
        },
        {
            "type": "room",
            "relations": {"system": this, "member": this, "can_act": can_act},
            "metadata": {"relations": {"system": direct("system"), "member": direct("user")}}
        }
    ]})
}

/// One connection, for many callers at once.
#[derive(Clone)]
pub struct Checker {
    sender: SendRequest<Bytes>,
    uri: String,
    store: String,
    model: String,
}

impl Checker {
    /// Whether a user may act in a room.
    pub async fn check(&self, user: &str, room: &str) -> bool {
        let key = [
            text(1, &format!("user:{user}")),
            text(2, "can_act"),
            text(3, &format!("room:{room}")),
        ]
        .concat();
        let message = [
            text(1, &self.store),
            bytes(2, &key),
            text(4, &self.model),
            number(7, HIGHER_CONSISTENCY),
        ]
        .concat();
        let mut sender = self.sender.clone().ready().await.unwrap();
        let request = Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(framed(&message), true).unwrap();
        let mut answer = answer.await.unwrap().into_body();
        let mut read = Vec::new();
        while let Some(piece) = answer.data().await {
            let piece = piece.unwrap();
            answer.flow_control().release_capacity(piece.len()).unwrap();
            read.extend(&piece);
        }
        let trailers = answer.trailers().await.unwrap().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        // Five bytes of framing, then field 1, `allowed`.
        read.get(5..7) == Some(&[8, 1])
    }
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}
