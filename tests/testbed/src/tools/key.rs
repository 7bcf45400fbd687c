//! What a built tool depends on, as one short name: the same pins and recipe give the same key on
//! every machine, and any change gives another.

use sha2::{Digest, Sha256};

use super::{
    build,
    pin::{ModuleFile, Tool},
};

/// Digits of the hash that are kept: 64 bits, plenty for a handful of folders.
const DIGITS: usize = 16;

/// The name of the folder that a built tool lives in: `etcd-0f3a…`.
pub(super) fn folder_name(tool: Tool) -> String {
    format!("{}-{}", tool.name(), hash(tool.files(), &build::arguments(tool)))
}

/// A hash over the files and the arguments of the build. Each part is preceded by its length, so
/// that text cannot move from one part to the next unnoticed.
fn hash(files: &[ModuleFile], arguments: &[String]) -> String {
    let named = files.iter().flat_map(|file| [file.name, file.text]);
    let mut hasher = Sha256::new();
    for part in named.chain(arguments.iter().map(String::as_str)) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(DIGITS);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [ModuleFile; 2] =
        [ModuleFile { name: "go.mod", text: "ab" }, ModuleFile { name: "go.sum", text: "c" }];

    fn arguments(list: &[&str]) -> Vec<String> {
        list.iter().map(|&argument| argument.to_owned()).collect()
    }

    #[test]
    fn the_key_is_the_same_everywhere() {
        assert_eq!(hash(&FILES, &arguments(&["-trimpath"])), "33b244eba9bc1673");
    }

    #[test]
    fn every_part_changes_the_key() {
        let mut moved = FILES;
        (moved[0].text, moved[1].text) = ("a", "bc");
        let mut renamed = FILES;
        renamed[1].name = "go.sun";
        let keys = [
            hash(&FILES, &arguments(&["-trimpath"])),
            hash(&moved, &arguments(&["-trimpath"])),
            hash(&renamed, &arguments(&["-trimpath"])),
            hash(&FILES[..1], &arguments(&["-trimpath"])),
            hash(&FILES, &arguments(&["-race"])),
            hash(&FILES, &arguments(&["-trim", "path"])),
            hash(&FILES, &[]),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(key.len(), DIGITS);
            assert!(!keys[..index].contains(key), "key {index} is not new");
        }
    }

    #[test]
    fn every_tool_has_a_folder_of_its_own() {
        let mut names: Vec<String> = Tool::ALL.into_iter().map(folder_name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Tool::ALL.len());
    }
}
