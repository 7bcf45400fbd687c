//! The walls between the rooms, held by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// Code without line comments, so that a wall may be named in words.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn breaches(room: &str, banned: &[&str]) -> Vec<String> {
    sources(room)
        .iter()
        .flat_map(|(path, text)| {
            code(text)
                .filter(|line| banned.iter().any(|word| line.contains(word)))
                .map(move |line| format!("{}: {}", path.display(), line.trim()))
        })
        .collect()
}

/// What words and thought may not touch: the world, and what changes from run to run.
const HANDS: &str = "async |.await|tokio|async_nats|kube::Client|kube::Api|kube::api|kube::runtime|\
    kube::client|Timestamp::now|Instant::now|SystemTime|std::env|std::fs";

/// Room, then what it may not name.
const WALLS: [(&str, &str); 10] = [
    ("api", HANDS),
    ("cluster", HANDS),
    ("api", "crate::cluster|crate::controller|crate::jetstream|crate::membership|crate::runtime"),
    ("cluster", "crate::controller|crate::jetstream|crate::membership|crate::runtime"),
    (
        "jetstream",
        "crate::api|crate::cluster|crate::controller|crate::membership|kube::|k8s_openapi",
    ),
    ("membership", "crate::api|crate::cluster|crate::controller|crate::service|kube::|k8s_openapi"),
    ("migration", "crate::api|crate::cluster|crate::controller|crate::service|kube::|k8s_openapi"),
    ("command", "crate::api|crate::cluster|crate::controller|kube::|k8s_openapi"),
    ("service", "crate::api|crate::cluster|crate::controller|crate::migration|kube::|k8s_openapi"),
    ("runtime", "crate::api|crate::cluster|crate::controller|crate::membership|crate::service"),
];

#[test]
fn the_rooms_keep_to_their_walls() {
    for (room, banned) in WALLS {
        let banned: Vec<&str> = banned.split('|').collect();
        assert_eq!(breaches(room, &banned), Vec::<String>::new(), "in {room}");
    }
}

#[test]
fn a_breach_of_a_wall_is_seen() {
    assert!(!breaches("api", &["kube::CustomResourceExt"]).is_empty());
    assert!(!sources("api").is_empty() && !sources("jetstream").is_empty());
}

#[test]
fn every_room_is_in_the_floor_plan_of_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let plan = page.split("## The floor plan").nth(1).unwrap().split("\n## ").next().unwrap();
    let rooms = fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let rooms: Vec<PathBuf> = rooms.filter(|path| path.is_dir()).collect();
    assert!(rooms.len() >= 10, "{rooms:?}");
    for room in rooms {
        let name = format!("`src/{}`", room.file_name().unwrap().to_string_lossy());
        assert!(plan.contains(&name), "{name}");
    }
}
