//! A file that is being moved: read on, written no more; moved, nobody is let in from it.

use membership_operator::membership::sqlite::fence;
use rusqlite::Connection;
use serde_json::json;

use crate::http::{Sending, get};
use crate::program::{OWNER, Server};

const TABLES: [&str; 8] =
    ["control", "users", "rooms", "room_epochs", "members", "rekeys", "room_keys", "requests"];

fn fence(connection: &Connection, state: &str) {
    let tables = TABLES.map(str::to_owned);
    for statement in fence::statements(&tables) {
        connection.execute_batch(&statement).unwrap();
    }
    connection.execute(&format!("INSERT INTO {} VALUES (1, ?1)", fence::TABLE), [state]).unwrap();
}

#[test]
fn a_fenced_file_is_read_on_and_written_no_more() {
    let server = Server::started();
    let connection = Connection::open(server.host.path("membership.db")).unwrap();
    fence(&connection, "raised");
    server.get(OWNER, "/v1/rooms/lobby").done(200);
    let new = Sending::new("POST", "/v1/rooms").json(&json!({"room": "x", "subject": "s"}));
    let refused = server.send(OWNER, new.clone());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let why = refused.refused(503, "unavailable");
    assert!(why.contains("moved") && why.contains("nothing was written"), "{why}");
    assert_eq!(get(server.admin, "/readyz").status, 200, "reads are its work, too");
    for (name, _) in fence::triggers(&TABLES.map(str::to_owned)) {
        connection.execute_batch(&format!("DROP TRIGGER {}", fence::quoted(&name))).unwrap();
    }
    connection.execute_batch(&format!("DROP TABLE {}", fence::TABLE)).unwrap();
    server.send(OWNER, new).done(201);
}

#[test]
fn nobody_is_let_in_from_a_file_that_was_moved() {
    let server = Server::started();
    let connection = Connection::open(server.host.path("membership.db")).unwrap();
    fence(&connection, "done");
    let refused = server.get(OWNER, "/v1/rooms/lobby");
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "moved");
    let ready = get(server.admin, "/readyz");
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, Some("not ready: the store says Moved\n"))
    );
    assert_eq!(get(server.admin, "/livez").status, 200);
}
