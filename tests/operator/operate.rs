//! The page for who operates a cluster knows every condition and every reason.

use std::fs;
use std::path::Path;

use membership_operator::api::conditions::{ConditionType, Reason};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of the page's tables, by the word that they explain.
fn rows() -> Vec<String> {
    let page = read("docs/operate.md");
    let words = page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
    words.map(str::to_owned).collect()
}

/// Every reason, as its enum names it.
fn reasons() -> Vec<String> {
    let source = read("src/api/conditions.rs");
    let (_, rest) = source.split_once("pub enum Reason {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let names = body.lines().map(str::trim).filter_map(|line| line.strip_suffix(','));
    names.map(str::to_owned).collect()
}

#[test]
fn every_condition_and_every_reason_is_explained_once_and_no_other() {
    let mut expected = reasons();
    assert!(expected.len() > 60 && expected.iter().all(|name| Reason::parse(name).is_some()));
    expected.extend(ConditionType::ALL.map(|kind| kind.to_string()));
    expected.sort();
    let mut found = rows();
    found.sort();
    assert_eq!(found, expected);
}

/// The words of Events that are no condition's reason, as the sources have them.
fn words_of_events() -> Vec<String> {
    let sources = ["events.rs", "migration.rs"];
    let sources = sources.map(|name| read(&format!("src/cluster/status/{name}"))).concat();
    let made = ["EventKind::Normal, \"", "EventKind::Warning, \""];
    let places = made.into_iter().flat_map(|made| sources.split(made).skip(1));
    let first = places.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    first.chain(["Resumed", "Recovered"].map(str::to_owned)).collect()
}

#[test]
fn every_event_of_its_own_word_is_explained() {
    let page = read("docs/operate.md");
    let (_, section) = page.split_once("## The Events").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let words = words_of_events();
    assert!(words.len() >= 12, "{words:?}");
    for word in words {
        assert!(section.contains(&format!("`{word}`")), "{word}");
    }
}
