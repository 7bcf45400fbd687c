//! The README's commands are ones that work here: the chart and the folders are there, and the
//! resource that it shows is taken.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::crd::{refusals, stored};

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

#[test]
fn the_files_and_make_targets_that_the_readme_names_are_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (mut files, mut targets) = (0, 0);
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let command = line.split('#').next().unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        for word in words.iter().filter(|word| word.contains('/') && word.is_ascii()) {
            let named = root().join(word);
            if !word.starts_with("membershipcluster/") && !word.contains("deploy/") {
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
