//! Rules of the house that no compiler keeps: which room may import which, one name for one
//! type, and no test file that nobody runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::common::journey::files_below;

/// The rooms of `src`. A room imports only those that stand before it, so that no cycle can
/// be.
const ROOMS: [&str; 17] = [
    "error", "secret", "exec", "run", "git", "ui", "nix", "ssh", "sops", "config", "facts",
    "target", "image", "init", "steps", "journey", "cli",
];

fn below_checkout(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn rust_files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = files_below(dir);
    files.retain(|file| file.extension().is_some_and(|end| end == "rs"));
    files.into_iter().collect()
}

/// A file of `src`: where its module stands, and its lines of code with their numbers,
/// without comments and unit tests.
struct Source {
    file: String,
    module: Vec<String>,
    lines: Vec<(usize, String)>,
}

impl Source {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = (1..).zip(code.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.starts_with("//"));
        let file = file.strip_prefix(below_checkout("src")).unwrap().with_extension("");
        let words = file.iter().map(|word| word.to_str().unwrap().to_owned());
        Self {
            module: words.filter(|word| word != "mod").collect(),
            lines: lines.map(|(number, line)| (number, line.to_owned())).collect(),
            file: format!("src/{}.rs", file.display()),
        }
    }

    fn all() -> Vec<Self> {
        rust_files(&below_checkout("src")).iter().map(|file| Self::read(file)).collect()
    }

    /// The imports of rooms that do not stand before this file's; `path` finds imports.
    fn wrong_imports(&self, path: &Regex) -> Vec<String> {
        let place = |room: &str| ROOMS.iter().position(|known| *known == room);
        let (room, own) = (&self.module[0], place(&self.module[0]));
        let parents = "super::".repeat(self.module.len());
        let mut wrong = Vec::new();
        for (number, line) in &self.lines {
            for found in path.captures_iter(&line.replace(&parents, "crate::")) {
                let to = &found[1];
                if to != room && (own.is_none() || place(to).is_none() || place(to) > own) {
                    wrong.push(format!("{}:{number}: {room} -> {to}: {line}", self.file));
                }
            }
        }
        wrong
    }
}

#[test]
fn a_room_imports_only_rooms_below_it() {
    let sources = Source::all();
    // The doors: lib.rs names the rooms, main.rs enters.
    let rooms = sources.iter().filter(|source| !["lib", "main"].contains(&&*source.module[0]));
    let path = Regex::new(r"\bcrate::(\w+|\{)").unwrap();
    let wrong: Vec<String> = rooms.flat_map(|source| source.wrong_imports(&path)).collect();
    assert!(
        wrong.is_empty(),
        "\n{}\nMove what is imported to a room below, one line for each room. A new room gets \
         its place in ROOMS, from the lowest: {}",
        wrong.join("\n"),
        ROOMS.join(", ")
    );
}

#[test]
fn no_two_public_types_have_one_name() {
    let types = Regex::new(r"^pub(?:\([^)]*\))? (?:struct|enum|union|trait|type) (\w+)").unwrap();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in Source::all() {
        for (number, line) in &source.lines {
            if let Some(found) = types.captures(line) {
                let place = format!("{}:{number}", source.file);
                places.entry(found[1].to_owned()).or_default().push(place);
            }
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "two public types of one name, rename one: {places:#?}");
}

/// Gathers `file` and the files of the modules that it names, which lie in `dir`.
fn gather_modules(file: &Path, dir: &Path, known: &mut BTreeSet<PathBuf>) {
    let text = fs::read_to_string(file).unwrap();
    let name = |line: &str| -> Option<String> {
        let line = line.trim();
        let line = line.strip_prefix("pub ").unwrap_or(line);
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    for name in text.lines().filter_map(name) {
        let below = dir.join(name);
        let files = [below.with_extension("rs"), below.join("mod.rs")];
        for file in files.iter().filter(|file| file.is_file()) {
            gather_modules(file, &below, known);
        }
    }
    known.insert(file.to_owned());
}

#[test]
fn every_file_of_tests_is_part_of_the_one_program() {
    let room = below_checkout("tests/it");
    let mut known = BTreeSet::new();
    gather_modules(&room.join("main.rs"), &room, &mut known);
    let files = rust_files(&below_checkout("tests"));
    let forgotten: Vec<_> = files.difference(&known).collect();
    assert!(
        forgotten.is_empty(),
        "{forgotten:#?}\nare no modules of tests/it/main.rs. Tests live in the room of tests/it \
         that has the name of the room of src which they test: move the file there and name it \
         in that room's mod.rs"
    );
}
