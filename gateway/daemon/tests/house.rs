//! Holds the direction of the dependencies that ARCHITECTURE.md states.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a panic is how it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Each package of the workspace with its folder and the packages of the project that it depends on (for building and running, not for
/// its tests).
struct House {
    folder: BTreeMap<String, String>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

fn house() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut house = House { folder: BTreeMap::new(), needs: BTreeMap::new() };
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let folder = folder.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let needs = package["dependencies"].as_array().unwrap().iter().filter(|need| need["kind"] != "dev");
        let needs = needs.map(|need| need["name"].as_str().unwrap().to_owned());
        house.needs.insert(name.clone(), needs.filter(|need| need.starts_with("lamppost")).collect());
        house.folder.insert(name, folder);
    }
    house
}

#[test]
fn every_room_of_the_gateway_knows_only_the_event_and_the_drivers() {
    let house = house();
    let rooms = house.folder.iter().filter(|(name, folder)| folder.starts_with("gateway/") && *name != "lamppost");
    let mut seen = 0;
    for (name, _) in rooms {
        for need in &house.needs[name] {
            let allowed = need == "lamppost-event" || house.folder.get(need).is_some_and(|f| f.starts_with("drivers/"));
            assert!(allowed, "{name} depends on {need}: only the daemon may know two rooms");
        }
        seen += 1;
    }
    assert!(seen >= 8, "the rooms were not found: {:?}", house.folder);
}

#[test]
fn the_event_depends_on_no_other_room() {
    assert_eq!(house().needs["lamppost-event"], BTreeSet::new());
}

#[test]
fn drivers_never_depend_on_the_gateway_or_the_firmware() {
    let house = house();
    let drivers: Vec<_> = house.folder.iter().filter(|(_, folder)| folder.starts_with("drivers/")).collect();
    assert!(drivers.len() >= 4, "the drivers were not found: {:?}", house.folder);
    for (name, _) in drivers {
        for need in &house.needs[name] {
            assert!(house.folder.get(need).is_some_and(|f| f.starts_with("drivers/")), "{name} depends on {need}");
        }
    }
}

/// A folder that is there already is not flushed by the journal, nor are those above it.
#[test]
fn the_journals_folder_is_made_by_the_journal_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway/mod.rs");
    let text = std::fs::read_to_string(source).unwrap();
    assert!(text.contains("Directory::create(") && !text.contains("create_dir"));
}

#[test]
fn only_the_daemon_and_the_edges_know_a_runtime() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for core in ["event", "route", "journal", "views"] {
        let manifest = std::fs::read_to_string(root.join(core).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("tokio"), "{core} must stay without a runtime");
    }
}
