//! The document that describes the API is made from the code, and is an interface.

use std::path::Path;

use membership_operator::service::problem::ProblemType;
use membership_operator::service::router;

use crate::http::get;
use crate::program::{Host, Server};

#[test]
fn the_document_is_the_reviewed_one_and_is_served() {
    let document = router::openapi().to_pretty_json().unwrap();
    insta::assert_snapshot!("openapi", document);
    let served = get(Server::empty().at, "/openapi.json");
    let expected: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(served.done(200), expected);
}

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http-api.md");
    std::fs::read_to_string(path).unwrap()
}

/// The commands of the manual's first walk, as they stand there, on ports that are free here.
#[test]
fn the_manuals_first_steps_work_as_written() {
    let manual = manual();
    let walk = manual.split("<!-- run -->\n```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (at, admin) = (free(), free());
    let host = Host::new();
    let program = Path::new(env!("CARGO_BIN_EXE_membershipd")).parent().unwrap();
    let output = std::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", walk])
        .current_dir(host.path("."))
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
        .env("MEMBERSHIPD_URL", format!("http://{at}"))
        .env("MEMBERSHIPD_LISTEN", &at)
        .env("MEMBERSHIPD_ADMIN_LISTEN", admin)
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("\"allowed\":true") && out.contains("\"status\":\"revoked\""), "{out}");
    assert!(err.contains("is not that of an active user"), "{err}");
}

#[test]
fn the_manual_has_the_table_of_problem_types() {
    let manual = manual();
    for kind in ProblemType::ALL {
        let row = format!("| `{}` | {} | {} |", kind.slug(), kind.status().as_u16(), kind.title());
        assert!(manual.contains(&row), "docs/http-api.md lacks: {row}");
    }
}
