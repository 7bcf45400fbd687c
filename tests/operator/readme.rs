//! The README holds: each command that it gives is run by a test or has a reason why not, what it
//! names is there, and the resource that it shows is taken.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::crd::{refusals, stored};
use crate::readme_commands::{By, COMMANDS, run_by};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks of code in a language.
fn blocks(language: &str) -> Vec<String> {
    let (text, fence) = (readme(), format!("```{language}\n"));
    let blocks = text.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_resource_in_the_readme_is_taken() {
    let shown: Vec<Value> =
        blocks("yaml").iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    assert!(!shown.is_empty());
    for resource in shown {
        let name = resource["metadata"]["name"].as_str().unwrap();
        let defaulted = stored(name, &resource["spec"]);
        assert_eq!(refusals(&defaulted, None), Vec::<String>::new());
        for part in resource["spec"].as_object().unwrap().keys() {
            assert_ne!(defaulted["spec"][part], json!(null), "{part}");
        }
    }
}

/// The page without its blocks of code, and with every break of a line as a space.
fn prose() -> String {
    let text = readme();
    let parts = text.split("```").step_by(2);
    parts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Programs that a command begins with.
const PROGRAMS: [&str; 6] = ["kubectl ", "helm ", "make ", "cargo ", "membershipd ", "go "];

/// Every command that is given, each once: the lines of the blocks, and commands in the sentences.
fn commands() -> Vec<String> {
    let (blocks, prose) = (blocks("sh"), prose());
    let lines = blocks.iter().flat_map(|block| block.lines());
    let lines = lines.map(|line| line.split(" #").next().unwrap().trim());
    let spans = prose.split('`').skip(1).step_by(2);
    let spans = spans.filter(|span| PROGRAMS.iter().any(|program| span.starts_with(program)));
    let mut all: Vec<String> = lines.chain(spans).map(str::to_owned).collect();
    all.retain(|command| !command.is_empty());
    all.sort();
    all.dedup();
    all
}

#[test]
fn every_command_of_the_readme_is_run_by_a_test_or_has_a_reason_why_not() {
    let mut known: Vec<&str> = COMMANDS.iter().map(|(command, _)| *command).collect();
    known.sort_unstable();
    assert_eq!(commands(), known, "tests/readme/commands.rs says who runs each");
    assert!(run_by(By::Newcomer).count() > 5 && run_by(By::TestBed).count() > 5);
    let reasons = COMMANDS.iter().filter_map(|(_, by)| match by {
        By::Nobody(reason) => Some(*reason),
        By::Newcomer | By::TestBed => None,
    });
    for reason in reasons {
        assert!(reason.split_whitespace().count() > 3, "{reason}");
    }
}

#[test]
fn the_files_and_make_targets_that_the_readme_names_are_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (mut files, mut targets) = (0, 0);
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let command = line.split('#').next().unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        for word in words.iter().filter(|word| word.contains('/') && word.is_ascii()) {
            let named = root().join(word);
            let objects = ["membershipcluster/", "deploy/", "membership.unibus.dev/"];
            if !objects.iter().any(|object| word.starts_with(object)) {
                assert!(named.exists(), "{line}");
                files += 1;
            }
        }
        if let ["make", target] = words[..] {
            assert!(makefile.contains(&format!("\n{target}:")), "{line}");
            targets += 1;
        }
    }
    assert!(files >= 2 && targets >= 2, "{files} files, {targets} targets");
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md"].map(|one| root().join(one)).into();
    for folder in ["docs", "docs/adr"] {
        let found = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(found.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.0.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(page.parent().unwrap().join(target).exists(), "{}: {target}", page.display());
        }
    }
}
