//! The manual says what the program does: exit codes, commands and variables.

use std::fs;
use std::path::Path;

use membership_operator::command::exit::Exit;

use crate::program::Host;

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/membershipd.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_manual_and_the_help_have_the_table_of_exit_codes() {
    let (manual, help) = (manual(), Host::new().run(["--help"]).done());
    let flat: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (_, code, meaning) in Exit::TABLE {
        let row = format!("| {code} | {meaning} |");
        assert!(manual.contains(&row), "docs/membershipd.md lacks: {row}");
        assert!(flat.contains(&format!("{code} {meaning}")), "{help}");
    }
}

#[test]
fn every_help_begins_with_examples() {
    let host = Host::new();
    for command in [
        &[][..],
        &["init"],
        &["user"],
        &["user", "add"],
        &["export"],
        &["import"],
        &["serve"],
        &["keygen"],
        &["call"],
        &["migrate-to-kv"],
        &["completions"],
    ] {
        let args = command.iter().copied().chain(["--help"]);
        let help = host.run(args).done();
        assert!(help.starts_with("Examples:\n  membershipd "), "{command:?}: {help}");
    }
}

#[test]
fn the_manual_names_every_command_and_variable() {
    let manual = manual();
    for word in [
        "membershipd init",
        "membershipd user add",
        "membershipd user list",
        "membershipd user show",
        "membershipd user revoke",
        "membershipd export",
        "membershipd import",
        "membershipd serve",
        "membershipd keygen",
        "membershipd call",
        "membershipd migrate-to-kv",
        "membershipd completions",
        "MEMBERSHIPD_DB",
        "MEMBERSHIPD_NATS_URL",
        "NATS_URL",
        "MEMBERSHIPD_NKEY",
        "MEMBERSHIPD_CA",
        "MEMBERSHIPD_BUCKET_PREFIX",
        "NO_COLOR",
    ] {
        assert!(manual.contains(word), "docs/membershipd.md does not speak of {word}");
    }
}

/// The commands of the manual's first walk, as they stand there.
#[test]
fn the_manuals_first_steps_work_as_written() {
    let manual = manual();
    let walk = manual.split("<!-- run -->\n```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let host = Host::new();
    let program = Path::new(env!("CARGO_BIN_EXE_membershipd")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let output = host
        .command(["version"])
        .output()
        .and_then(|_| {
            std::process::Command::new("bash")
                .args(["-euo", "pipefail", "-c", walk])
                .current_dir(host.path("."))
                .env_clear()
                .env("PATH", path)
                .output()
        })
        .unwrap();
    let ran = crate::program::Ran::from(output);
    assert!(ran.done().contains("revoked"), "{walk}");
}

#[test]
fn completions_name_the_commands() {
    let host = Host::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = host.run(["completions", shell]).done();
        assert!(script.contains("revoke") && script.contains("membershipd"), "{shell}");
    }
}

#[test]
fn the_version_reads_as_words_and_as_json() {
    let host = Host::new();
    assert!(host.run(["version"]).done().starts_with("membershipd "));
    assert_eq!(host.run(["version", "-o", "json"]).json()["program"], "membershipd");
}
