//! How it starts, stops and tells of itself.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use crate::http::{Caller, Sending, answer, connect, get};
use crate::program::{ADMIN, Host, OWNER, Server};

#[test]
fn it_makes_its_file_for_its_owner_only_and_says_where_it_is() {
    let server = Server::empty();
    let mode = fs::metadata(server.host.path("membership.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(server.at.ip().is_loopback() && server.admin.ip().is_loopback());
}

#[test]
fn the_admin_port_tells_life_readiness_and_figures_and_nothing_else() {
    let server = Server::started();
    assert_eq!(get(server.admin, "/livez").body, "ok\n");
    assert_eq!(get(server.admin, "/readyz").body, "ok\n");
    let figures = get(server.admin, "/metrics");
    let text = figures.body.as_str().unwrap();
    let line = "membershipd_http_requests_total{method=\"POST\",route=\"/v1/rooms\",status=\"201\",\
                problem=\"\"} 1";
    assert!(text.contains(line), "{text}");
    assert_eq!(get(server.admin, "/v1/rooms").status, 404);
    for path in ["/livez", "/readyz", "/metrics"] {
        get(server.at, path).refused(404, "no-such-path");
    }
}

#[test]
fn readiness_falls_with_the_file_and_every_request_is_denied() {
    let server = Server::started();
    fs::rename(server.host.path("membership.db"), server.host.path("elsewhere.db")).unwrap();
    assert_eq!(get(server.admin, "/readyz").status, 503);
    server.get(OWNER, "/v1/rooms/lobby").refused(503, "unavailable");
    fs::rename(server.host.path("elsewhere.db"), server.host.path("membership.db")).unwrap();
    assert_eq!(get(server.admin, "/readyz").status, 200);
    server.get(OWNER, "/v1/rooms/lobby").done(200);
}

#[test]
fn it_ends_what_it_began_and_then_stops() {
    let server = Server::started();
    let mut idle = connect(server.at);
    let sending = Sending::new("GET", "/v1/rooms/lobby");
    let headers = sending.signed_headers(&Caller::new(OWNER), &server.at.to_string());
    let bytes = sending.bytes(&headers);
    let mut slow = connect(server.at);
    // Its head is there and counted, its end is not.
    let put = Sending::new("POST", "/v1/rooms").json(&json!({"room": "late", "subject": "s"}));
    let whole = put.bytes(&put.signed_headers(&Caller::new(OWNER), &server.at.to_string()));
    let (most, rest) = whole.split_at(whole.len() - 5);
    slow.write_all(most).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let at = server.at;
    server.signal(rustix::process::Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    slow.write_all(rest).unwrap();
    assert_eq!(answer(&mut slow).expect("it is answered").status, 201);
    let mut server = server;
    assert!(server.ended().success());
    // It may be refused at once or cut; it is not answered.
    let _ = idle.write_all(&bytes);
    assert_eq!(answer(&mut idle), None);
    assert!(std::net::TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_err());
}

#[test]
fn it_takes_its_orders_from_flags_environment_and_a_file() {
    let host = Host::new();
    let file = "db: of-file.db\nauthority: [of-file]\nlogLevel: debug\nlogFormat: text\n";
    fs::write(host.path("c.yaml"), file).unwrap();
    let env = [("MEMBERSHIPD_DB", "of-env.db"), ("MEMBERSHIPD_LOG_FORMAT", "json")];
    let server = host.serve_with(&["--config=c.yaml", "--db=of-flag.db"], &env);
    let made = |name: &str| host.path(name).exists();
    assert!(made("of-flag.db") && !made("of-env.db") && !made("of-file.db"));
    let sending = Sending::new("GET", "/v1/rooms");
    server.send(ADMIN, sending).refused(421, "misdirected");
    assert!(server.stop().success());
    for line in host.log().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["message"].is_string(), "{line}");
    }
    assert!(host.log().contains("DEBUG"), "the file's word counts where nothing is above it");
    fs::write(host.path("c.yaml"), "lisen: x\n").unwrap();
    let wrong = host.command(["serve", "--config=c.yaml"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("lisen"));
}

#[test]
fn two_cannot_listen_at_one_place() {
    let server = Server::empty();
    let listen = format!("--listen={}", server.at);
    let second = server.host.command(["serve", &listen, "--admin-listen=127.0.0.1:0"]);
    let output = { second }.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn the_log_has_no_name_key_or_body() {
    let host = Host::new();
    let server = host.serve(&["--log-level=debug"]);
    server.let_in(&["--admin"], ADMIN);
    let canary = "canary-7c1f";
    let sealed = data_encoding::BASE64.encode(canary.as_bytes());
    let new = json!({"room": canary, "subject": canary, "ownerKey": sealed});
    server.post(ADMIN, "/v1/rooms", &new).done(201);
    server.get(ADMIN, &format!("/v1/rooms/{canary}/key?x={canary}")).refused(400, "invalid");
    server.get(ADMIN, &format!("/v1/rooms/{canary}/key")).done(200);
    assert!(server.stop().success());
    let log = host.log();
    assert!(log.contains("answered"), "{log}");
    assert!(!log.contains(canary) && !log.contains(&sealed), "{log}");
}

#[test]
fn keygen_and_call_are_enough_to_use_it() {
    let server = Server::empty();
    let host = &server.host;
    let key = String::from_utf8(host.run(["keygen", "ada.key"]).stdout).unwrap();
    let mode = fs::metadata(host.path("ada.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    host.run(["user", "add", "--admin", key.trim(), "Ada"]);
    let url = format!("http://{}", server.at);
    let call = |args: &[&str]| {
        let mut command = host.command(["call"]);
        command.args(args).env("MEMBERSHIPD_KEY", "ada.key").env("MEMBERSHIPD_URL", &url);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text, String::from_utf8(output.stderr).unwrap())
    };
    let body = r#"{"room": "lobby", "subject": "bus.lobby"}"#;
    let nonce = "a-nonce-of-a-person";
    for replayed in [None, Some("true")] {
        let (code, out, _) =
            call(&["POST", "/v1/rooms", "--data", body, "--nonce", nonce, "-o", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &answer["status"]), (0, &json!(201)));
        assert_eq!(answer["headers"]["idempotent-replayed"].as_str(), replayed);
    }
    let (code, out, _) = call(&["GET", "/v1/rooms?limit=1"]);
    assert!(code == 0 && out.contains("lobby"), "{out}");
    let (code, out, err) = call(&["GET", "/v1/rooms/nowhere"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("you may not do this") && err.contains("403"), "{err}");
    let (code, _, err) = call(&["GET", "/v1/rooms", "--url", "http://127.0.0.1:1"]);
    assert!(code == 4 && err.contains("--nonce"), "{err}");
    let (code, _, err) = call(&["GET", "/v1/rooms", "--key", "membership.db"]);
    assert!(code == 2 && !err.contains("SQLite"), "{err}");
    fs::set_permissions(host.path("ada.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = call(&["GET", "/v1/rooms"]);
    assert!(code == 2 && err.contains("chmod 600"), "{err}");
    let again = host.command(["keygen", "ada.key"]).output().unwrap();
    assert_eq!(again.status.code(), Some(6), "no key is written over");
}
