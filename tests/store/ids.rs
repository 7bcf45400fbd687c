//! Parsing is the only way in, so the tables of what comes in and what does not stand here. The
//! names of the rows are those of the catalogue of bad input (E: ids; F1: sealed keys).

use membership_operator::membership::ids::{
    Attempt, Endpoint, Epoch, Handle, InvalidValue, RoomId, RoomSubject, TOKEN_MAX_BYTES, UserKey,
};
use proptest::prelude::*;

/// What a name is refused for; `None` when it is taken.
fn refused(name: &str) -> Option<InvalidValue> {
    let found = name.parse::<RoomId>().err();
    // Every kind of name has the one rule.
    assert_eq!(found.is_some(), name.parse::<Endpoint>().is_err(), "{name:?}");
    let json = serde_json::to_string(name).unwrap();
    assert_eq!(found.is_some(), serde_json::from_str::<RoomId>(&json).is_err(), "{name:?}");
    found
}

fn character(c: char) -> Option<InvalidValue> {
    Some(InvalidValue::Character { what: "room", character: c.into() })
}

#[test]
fn names_that_mean_something_elsewhere_are_only_names() {
    for name in [
        // E1
        "*",
        ">",
        "a.*",
        "a.>",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        // E4: look-alikes are others, not the same
        "\u{e9}",
        "\u{ff41}lice",
        "\u{430}lice",
        "\u{130}",
        // E7
        "$JS.API",
        "$KV.x",
        "_INBOX.x",
        "$SYS",
        "_fence",
        // E8
        "-",
        "--help",
        "=",
        "/",
        "a/b",
        "..%2f",
        "%2e",
        "+",
        // E9
        "YWxpY2U",
        "=2A",
    ] {
        assert_eq!(refused(name), None, "{name:?}");
        assert_eq!(name.parse::<RoomId>().unwrap().as_str(), name, "nothing is folded or trimmed");
    }
}

#[test]
fn names_that_could_be_taken_for_another_or_break_a_line_are_refused() {
    for (row, name, why) in [
        ("E2 space", "a b", character(' ')),
        ("E2 tab", "a\tb", character('\t')),
        ("E2 CR", "a\rb", character('\r')),
        ("E2 LF", "a\n", character('\n')),
        ("E2 a protocol line", "a\r\nPUB x 1", character('\r')),
        ("E2 NUL", "a\0", character('\0')),
        ("E2 escape", "\u{1b}[2J", character('\u{1b}')),
        ("E2 no-break space", "a\u{a0}b", character('\u{a0}')),
        ("E2 line separator", "a\u{2028}b", character('\u{2028}')),
        ("E4 decomposed", "e\u{301}", Some(InvalidValue::NotNormalised { what: "room" })),
        ("E4 zero-width joiner", "a\u{200d}b", character('\u{200d}')),
        ("E4 zero-width space", "a\u{200b}b", character('\u{200b}')),
        ("E4 right-to-left override", "a\u{202e}b", character('\u{202e}')),
        ("E4 byte order mark", "\u{feff}a", character('\u{feff}')),
        ("E4 soft hyphen", "a\u{ad}b", character('\u{ad}')),
        ("E4 private use", "\u{e000}", character('\u{e000}')),
        ("E4 unassigned", "\u{378}", character('\u{378}')),
        ("E4 tag character", "a\u{e0041}", character('\u{e0041}')),
        ("E5 trailing space", "alice ", character(' ')),
        ("E6 empty", "", Some(InvalidValue::Empty { what: "room" })),
    ] {
        assert_eq!(refused(name), why, "{row}");
    }
}

#[test]
fn a_name_has_one_to_128_bytes() {
    for length in [1, 2, 127, TOKEN_MAX_BYTES] {
        assert_eq!(refused(&"a".repeat(length)), None, "{length}");
    }
    // Bytes count, not characters.
    assert_eq!(refused(&"\u{e9}".repeat(64)), None);
    for actual in [129, 4096, 1 << 20] {
        let too_long = InvalidValue::TooLong { what: "room", actual, max: TOKEN_MAX_BYTES };
        assert_eq!(refused(&"a".repeat(actual)), Some(too_long));
    }
    let too_long = InvalidValue::TooLong { what: "room", actual: 130, max: TOKEN_MAX_BYTES };
    assert_eq!(refused(&"\u{e9}".repeat(65)), Some(too_long));
    assert!("a".repeat(256).parse::<RoomSubject>().is_ok());
    assert!("a".repeat(257).parse::<RoomSubject>().is_err());
}

#[test]
fn names_in_different_case_or_script_are_different() {
    let names = ["Alice", "alice", "ALICE", "\u{430}lice", "\u{ff41}lice", "al\u{131}ce"];
    for (n, one) in names.iter().enumerate() {
        for other in &names[n + 1..] {
            assert_ne!(one.parse::<RoomId>().unwrap(), other.parse::<RoomId>().unwrap());
        }
    }
}

#[test]
fn a_json_text_that_is_no_unicode_is_no_name() {
    // E3: a lone surrogate, an overlong form, bytes that are no UTF-8.
    for json in
        [&br#""\ud800""#[..], b"\"\xc0\xaf\"", b"\"\xff\"", b"\"\xed\xa0\x80\"", b"7", b"null"]
    {
        assert!(serde_json::from_slice::<RoomId>(json).is_err(), "{json:?}");
    }
}

#[test]
fn a_handle_may_have_spaces_inside_and_nowhere_else() {
    for handle in ["A", "Ada Lovelace", "a  b", "\u{17d}i\u{17e}ek"] {
        assert_eq!(handle.parse::<Handle>().unwrap().as_str(), handle);
    }
    for handle in [" Ada", "Ada ", " ", "a\u{a0}b", "a\tb", "a\u{202e}b", ""] {
        assert!(handle.parse::<Handle>().is_err(), "{handle:?}");
    }
}

#[test]
fn an_epoch_is_a_canonical_decimal_from_one_on() {
    for (text, number) in [("1", 1), ("10", 10), ("9223372036854775807", (1 << 63) - 1)] {
        let epoch: Epoch = text.parse().unwrap();
        assert_eq!((epoch.get(), epoch.to_string().as_str()), (number, text));
    }
    // E12
    for text in [
        "",
        "0",
        "-1",
        "+1",
        "01",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "\u{661}",
        "NaN",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        assert!(text.parse::<Epoch>().is_err(), "{text:?}");
    }
    for json in ["0", "-1", "1.0", "1e0", "\"1\"", "9223372036854775808", "1e400", "null"] {
        assert!(serde_json::from_str::<Epoch>(json).is_err(), "{json}");
    }
    assert_eq!(Epoch::try_from((1 << 63) - 1).unwrap().next(), None, "there is an end to counting");
}

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[test]
fn a_user_key_is_a_point_that_only_its_owner_can_sign_for() {
    let key: UserKey = KEY.parse().unwrap();
    assert_eq!(KEY.to_uppercase().parse::<UserKey>().unwrap(), key);
    assert_eq!(key.to_string(), KEY, "whatever came in");
    for text in [
        "",
        &KEY[1..],
        &format!("{KEY}0"),
        &format!(" {KEY}"),
        &format!("0x{}", &KEY[2..]),
        &KEY.replace('d', "g"),
        &KEY.replace("d7", "\u{ff44}"),
        // Points of small order: anybody's signature fits them.
        &"0".repeat(64),
        &format!("01{}", "0".repeat(62)),
        &format!("ec{}7f", "f".repeat(60)),
        // Not on the curve.
        &format!("02{}", "0".repeat(62)),
        // The point of y = 18, written as y + 2^255 - 19: a second spelling of one key.
        &"f".repeat(64),
    ] {
        assert!(text.parse::<UserKey>().is_err(), "{text:?}");
    }
}

#[test]
fn a_random_id_has_one_spelling() {
    let id = "00112233445566778899aabbccddeeff";
    assert_eq!(id.parse::<Attempt>().unwrap().to_string(), id);
    for text in [&id.to_uppercase(), &id[2..], &format!("{id}00"), "", &format!("{id} ")] {
        assert!(text.parse::<Attempt>().is_err(), "{text:?}");
    }
    assert_ne!(Attempt::random().unwrap(), Attempt::random().unwrap());
}

#[test]
fn what_is_refused_is_not_repeated() {
    let secret = "s3cr3t value";
    for said in [
        secret.parse::<RoomId>().unwrap_err().to_string(),
        secret.parse::<UserKey>().unwrap_err().to_string(),
        secret.parse::<Epoch>().unwrap_err().to_string(),
        secret.parse::<Attempt>().unwrap_err().to_string(),
    ] {
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_is_short_visible_and_read_back_as_it_is(text in "\\PC{0,80}|[\\x00-\\u{10ffff}]{0,40}") {
        if let Ok(room) = text.parse::<RoomId>() {
            prop_assert_eq!(room.as_str(), text.as_str());
            prop_assert!((1..=TOKEN_MAX_BYTES).contains(&text.len()));
            prop_assert!(!text.chars().any(|c| c.is_whitespace() || c.is_control()));
            let json = serde_json::to_string(&room).unwrap();
            prop_assert_eq!(serde_json::from_str::<RoomId>(&json).unwrap(), room);
        }
    }
}
