//! Input that means harm or is merely broken: `import` takes none of it, says which line it was,
//! and repeats nothing.

use crate::program::{Host, user};

fn user_line(n: u32) -> String {
    let key = user(n);
    format!(r#"{{"kind":"user","key":"{key}","handle":"u","role":"user","status":"active"}}"#)
}

fn room_line(room: &str, changed: &str) -> String {
    format!(
        r#"{{"kind":"room","room":"{room}","subject":"s","owner":"o","encrypted":true,"epoch":2,"createdAt":1{changed}}}"#
    )
}

fn key_line(epoch: &str, sealed: &str) -> String {
    format!(r#"{{"kind":"roomKey","room":"r","endpoint":"o","epoch":{epoch},"sealed":"{sealed}"}}"#)
}

#[test]
fn a_line_that_is_no_record_ends_the_import_at_its_number() {
    let member = |role: &str| {
        format!(
            r#"{{"kind":"member","room":"r","endpoint":"m","role":"{role}","addedBy":"o","addedAt":1}}"#
        )
    };
    let base64 = |bytes: usize| data_encoding::BASE64.encode(&vec![7; bytes]);
    for (id, line) in [
        ("E2 line break", room_line("a\\r\\nPUB x 1", "")),
        ("E2 NUL", room_line("a\\u0000", "")),
        ("E2 space", room_line("a b", "")),
        ("E3 lone surrogate", room_line("\\ud800", "")),
        ("E4 decomposed", room_line("e\\u0301", "")),
        ("E4 zero-width joiner", room_line("a\\u200db", "")),
        ("E4 right-to-left override", room_line("a\\u202eb", "")),
        ("E5 trailing space", room_line("alice ", "")),
        ("E6 empty", room_line("", "")),
        ("E6 129 bytes", room_line(&"a".repeat(129), "")),
        ("E6 1 MiB", room_line(&"a".repeat(1 << 20), "")),
        ("E12 epoch 0", key_line("0", "AA==")),
        ("E12 epoch -1", key_line("-1", "AA==")),
        ("E12 epoch 2^63", key_line("9223372036854775808", "AA==")),
        ("E12 epoch 2^64", key_line("18446744073709551616", "AA==")),
        ("E12 epoch 1.0", key_line("1.0", "AA==")),
        ("F1 no bytes", key_line("1", "")),
        ("F1 64 KiB + 1", key_line("1", &base64((64 << 10) + 1))),
        ("F1 1 MiB + 1", key_line("1", &base64((1 << 20) + 1))),
        ("F2 not our schema", r#"{"hello":"world"}"#.to_owned()),
        ("F2 an unknown field", room_line("r", r#","schema":2"#)),
        ("F2 truncated", room_line("r", "")[..40].to_owned()),
        ("F2 trailing bytes", room_line("r", "") + "x"),
        ("F2 a key twice", room_line("r", r#","epoch":3"#)),
        ("F2 deep nesting", "[".repeat(200_000)),
        ("F2 NaN", key_line("NaN", "AA==")),
        ("F2 1e400", key_line("1e400", "AA==")),
        ("an unknown role", member("visitor")),
        ("an empty line", String::new()),
    ] {
        let host = Host::with_store();
        let input = format!("{}\n{line}\n{}\n", user_line(1), user_line(2));
        let said = host.feed(["import"], input.as_bytes()).refused(3);
        assert!(said.starts_with("membershipd: line 2 "), "{id}: {said}");
        assert!(said.len() < 400 && said.lines().count() == 1, "{id}: {said}");
        assert!(!said.contains("AAAA") && !said.contains("BwcHBw"), "{id} repeats a key: {said}");
        let lines = host.lines(&host.db());
        assert!(!lines.contains(&user_line(2)), "{id}: what came after was written");
    }
    let host = Host::with_store();
    let mut input = format!("{}\n", user_line(1)).into_bytes();
    input.extend(b"{\"kind\":\"user\",\"handle\":\"\xc0\xaf\"}\n");
    assert!(host.feed(["import"], &input).refused(3).contains("line 2 "), "E3 overlong form");
}

#[test]
fn strange_but_right_ids_come_through_as_they_are() {
    for id in [
        "*",
        ">",
        "a.*",
        "a.>",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        "$JS.API",
        "$KV.x",
        "_INBOX.x",
        "$SYS",
        "-",
        "--help",
        "=",
        "/",
        "a/b",
        "..%2f",
        "%2e",
        "+",
        "YWxpY2U",
        "Alice",
        "alice",
        "\u{e9}",
        "\u{430}lice",
        "a",
        &"x".repeat(128),
    ] {
        let host = Host::with_store();
        let room = room_line(id, "");
        let member = format!(
            r#"{{"kind":"member","room":"{id}","endpoint":"o","role":"owner","addedBy":"o","addedAt":1}}"#
        );
        host.feed(["import"], format!("{room}\n{member}\n").as_bytes()).done();
        let mut expected = vec![room, member];
        expected.sort();
        assert_eq!(host.lines(&host.db()), expected, "{id}");
    }
}

#[test]
fn look_alike_ids_are_two_rooms() {
    let host = Host::with_store();
    let names = ["a.b", "a=2Eb", "a%2Eb", "A.b", "\u{430}.b"];
    let rooms: Vec<String> = names.iter().map(|name| room_line(name, "")).collect();
    host.feed(["import"], rooms.join("\n").as_bytes()).done();
    let exported = host.lines(&host.db());
    for room in rooms {
        assert!(exported.contains(&room), "{room}");
    }
}

#[test]
fn records_that_contradict_each_other_are_refused_as_a_page() {
    let member = |room: &str, endpoint: &str, role: &str| {
        format!(
            r#"{{"kind":"member","room":"{room}","endpoint":"{endpoint}","role":"{role}","addedBy":"o","addedAt":1}}"#
        )
    };
    let room = room_line("r", "");
    for (what, code, lines) in [
        ("a member of no room", 3, vec![member("none", "m", "member")]),
        ("a key of no room", 3, vec![key_line("1", "AA==")]),
        ("a second owner", 3, vec![room.clone(), member("r", "m", "owner")]),
        ("a key of an epoch to come", 3, vec![room.clone(), key_line("3", "AA==")]),
        (
            "another owner",
            1,
            vec![room.clone(), room.replace("\"owner\":\"o\"", "\"owner\":\"x\"")],
        ),
    ] {
        let host = Host::with_store();
        let said = host.feed(["import"], lines.join("\n").as_bytes()).refused(code);
        assert!(said.contains("could not be imported"), "{what}: {said}");
    }
}
