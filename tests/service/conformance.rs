//! Schemathesis, which has never seen our code, sends what the document allows and what it does not,
//! and looks whether each answer is one that the document knows.

use std::process::Command;

use testbed::tools::{Program, ensure_one};

use crate::http::{Caller, get};
use crate::program::{ADMIN, Kept, OTHER, OWNER, SERVICE, Server, over_both};
use crate::signer::{Change, PLEASE, Proxy};

over_both! {
    every_answer_is_one_that_the_document_knows,
}

/// Each operation by somebody who may do it. A caller who was revoked could ask nothing more, so that
/// is left to somebody who may not do it.
fn signer(_: &str, path: &str) -> u8 {
    let own = [ADMIN, OWNER, SERVICE].map(|n| format!("/v1/users/{}/revoke", Caller::new(n).key()));
    match path {
        "/v1/authorize" => SERVICE,
        _ if own.iter().any(|one| one.eq_ignore_ascii_case(path)) => OTHER,
        _ if path.starts_with("/v1/users") => ADMIN,
        _ => OWNER,
    }
}

/// What it came to, and what it said.
fn schemathesis(server: &Server, change: Change, args: &[&str]) -> (bool, String) {
    let proxy = Proxy::before(server.at, signer, change);
    let url = format!("http://{}", proxy.at);
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/schemathesis.toml");
    let output = Command::new(ensure_one(Program::Schemathesis).unwrap())
        .args(["--config-file", config, "run", &format!("{url}/openapi.json"), "--url", &url])
        .args(["--header", &format!("Signature: {PLEASE}")])
        .args(args)
        .current_dir(server.host.path("."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

/// More for nights.
fn examples() -> u32 {
    let rounds = std::env::var("TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    24 * rounds.unwrap_or(1)
}

fn every_answer_is_one_that_the_document_knows(kept: Kept) {
    let server = Server::started_in(kept);
    let (fine, said) =
        schemathesis(&server, |answer| answer, &["--max-examples", &examples().to_string()]);
    assert!(fine, "{said}");
    let figures = get(server.admin, "/metrics");
    let figures = figures.body.as_str().unwrap();
    let document = get(server.at, "/openapi.json").done(200);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let asked = format!("{{method=\"{method}\",route=\"{path}\",status=\"");
            assert!(figures.contains(&asked), "{method} {path} was never asked");
        }
    }
    for status in [200, 201, 204, 400, 401, 403, 404, 409, 415] {
        let answered = format!("status=\"{status}\"");
        assert!(figures.contains(&answered), "nothing was answered by {status}: {figures}");
    }
}

fn replaced(answer: &[u8], from: &str, to: &str) -> Vec<u8> {
    // The length in the head must stay right.
    let to = format!("{to:<width$}", width = from.len());
    String::from_utf8_lossy(answer).replacen(from, &to, 1).into_bytes()
}

#[test]
fn an_answer_that_the_document_does_not_know_is_found() {
    let server = Server::started();
    let faults: [(&str, Change); 4] = [
        ("a status", |answer| replaced(&answer, "HTTP/1.1 200 OK", "HTTP/1.1 202 Accepted")),
        ("a fault", |answer| replaced(&answer, "HTTP/1.1 200 OK", "HTTP/1.1 502 Bad Gateway")),
        ("a media type", |answer| replaced(&answer, "application/json", "application/jsop")),
        ("a body", |answer| replaced(&answer, "\"items\":[", "\"itemz\":[")),
    ];
    for (what, change) in faults {
        let args =
            ["--max-examples", "2", "--include-path", "/v1/rooms", "--include-method", "GET"];
        let (fine, said) = schemathesis(&server, change, &args);
        assert!(!fine, "{what} that is not in the document passed: {said}");
        assert!(said.contains("GET /v1/rooms"), "{said}");
    }
}
