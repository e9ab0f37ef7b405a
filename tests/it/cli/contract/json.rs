//! The JSON that is printed, the events of runs, and what a run leaves on disk.
//!
//! Values are kept where they are the same in every run; the others are hidden behind
//! their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::matches;
use crate::common::journey::{HOST, Journey, Ran, files_below, mode, run};
use crate::common::plain_flake::Plain;

const JSON_EVENTS: [&str; 2] = ["--log-format", "json"];

#[test]
fn a_bootstrap_and_what_is_told_of_it() {
    let Some(journey) = Journey::new() else { return };
    let hide = Hide::new(journey.root.path(), journey.target.sshd.port);
    let print = |words: &[&str]| run(journey.landfall().args(words)).succeeds().stdout.clone();
    let plan = |words: &[&str]| {
        let mut args = journey.args("plan");
        args.retain(|word| word != "--yes");
        hide.json(&run(journey.landfall().args(args).args(words)).succeeds().stdout)
    };
    assert_eq!(print(&["status", "--json"]), "[]\n");
    matches("plan-of-a-new-run", &plan(&["--format", "json"]));

    let check = journey.check_with(|args| args.extend(JSON_EVENTS.map(str::to_owned)));
    matches("events-of-check", &hide.events(check.succeeds()));

    journey.hook(&journey.config(), "pre-commit", "echo no commits today >&2; exit 1");
    let failed = run(journey.bootstrap().args(JSON_EVENTS));
    matches("events-of-a-run-that-fails", &hide.events(failed.ends(1, &[])));
    matches("status-of-a-run-that-failed", &hide.json(&print(&["status", HOST, "--json"])));

    fs::remove_file(journey.config().join(".git/hooks/pre-commit")).unwrap();
    let resumed = run(journey.bootstrap().args(JSON_EVENTS));
    matches("events-of-a-run-that-goes-on", &hide.events(resumed.succeeds()));
    matches("plan-of-a-run-that-goes-on", &plan(&["--json"]));
    let (one, all) = (print(&["status", HOST, "--json"]), print(&["status", "--json"]));
    let (one, all): (Value, Value) = (parse(&one), parse(&all));
    assert_eq!(all, Value::Array(vec![one]), "the list has what is shown of a host");

    let mut unreachable = journey.args("check");
    unreachable[2] = "root@127.0.0.1:1".into();
    let unreachable = run(journey.landfall().args(unreachable).args(JSON_EVENTS));
    matches("events-without-a-target", &hide.events(unreachable.ends(1, &[])));

    matches("journal-of-bootstrap", &hide.lines(&journal(&journey.run_dir())));
    matches("state-folder", &hide.folder(&journey.state()));
}

#[test]
fn an_installation_and_its_journal() {
    let Some(plain) = Plain::new() else { return };
    let hide = Hide::new(plain.root.path(), plain.target.sshd.port);
    let installed = plain.until_reboot(&JSON_EVENTS);
    matches("events-of-install", &hide.events(installed.succeeds()));
    let run_dir = plain.home(".local/state/landfall/guppy/current");
    matches("journal-of-install", &hide.lines(&journal(&run_dir)));
}

/// Journals that were written before must be understood by every later landfall.
#[test]
fn a_journal_of_a_whole_run_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("state/landfall/guppy");
    let name = "0b54a0b6-9c8f-4a3e-8d0e-6a4f1f3c2d1e";
    fs::create_dir_all(host.join(name)).unwrap();
    fs::write(host.join(name).join("journal.jsonl"), include_str!("journal.jsonl")).unwrap();
    std::os::unix::fs::symlink(name, host.join("current")).unwrap();
    let mut status = super::landfall(dir.path());
    status.env("XDG_STATE_HOME", dir.path().join("state"));
    let shown = run(status.args(["status", "guppy", "--json"]));
    // Nothing to hide: times and sizes are those of the journal.
    let shown = serde_json::to_string_pretty(&parse(&shown.succeeds().stdout)).unwrap();
    matches("status-of-a-whole-run", &shown);
}

fn journal(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("journal.jsonl")).unwrap();
    text.lines().map(parse).collect()
}

#[track_caller]
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

/// Hides what is another in every run or on every machine.
struct Hide {
    known: Vec<(String, &'static str)>,
    patterns: Vec<(Regex, &'static str)>,
}

/// Keys whose values have no form by which they could be known.
const VARY: [&str; 6] = ["addresses", "boot_id", "closure_bytes", "seconds", "started", "time"];

impl Hide {
    fn new(root: &Path, port: u16) -> Self {
        let patterns = [
            (r"SHA256:[A-Za-z0-9+/]{43}", "[fingerprint]"),
            (r"\bage1[a-z0-9]{58}\b", "[recipient]"),
            (r"/nix/store/[a-z0-9]{32}-", "/nix/store/[hash]-"),
            (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "[uuid]"),
            (r"\b[0-9a-f]{8,64}\b", "[hash]"),
            // What nix says of it is nix's.
            (r"(?s)\bnix-instantiate .*", "[nix]"),
            (r"closure of [0-9.]+ [KMG]?i?B", "closure of [size]"),
        ];
        let patterns = patterns.map(|(pattern, name)| (Regex::new(pattern).unwrap(), name));
        let real = fs::canonicalize(root).unwrap();
        let known = vec![
            (real.display().to_string(), "[root]"),
            (root.display().to_string(), "[root]"),
            (format!("127.0.0.1:{port}"), "127.0.0.1:[port]"),
        ];
        Self { known, patterns: patterns.into() }
    }

    fn text(&self, text: &str) -> String {
        let replace = |text: String, (from, to): &(String, &str)| text.replace(from, to);
        let text = self.known.iter().fold(text.to_owned(), replace);
        let replace =
            |text: String, (from, to): &(Regex, &str)| from.replace_all(&text, *to).into_owned();
        self.patterns.iter().fold(text, replace)
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(entries) => {
                for (key, value) in entries {
                    if VARY.contains(&key.as_str()) && !value.is_null() {
                        *value = format!("[{}]", kind(value)).into();
                    } else {
                        self.value(value);
                    }
                }
            }
            _ => (),
        }
    }

    /// A document, with nothing before or behind it.
    #[track_caller]
    fn json(&self, text: &str) -> String {
        let mut value = parse(text);
        self.value(&mut value);
        serde_json::to_string_pretty(&value).unwrap()
    }

    /// Lines of JSON, kind and step of each first, then a line for each of its values.
    #[track_caller]
    fn lines(&self, lines: &[Value]) -> String {
        let mut text = String::new();
        for line in lines {
            let mut line = line.clone();
            self.value(&mut line);
            let mut entries = BTreeMap::new();
            flatten("", &line, &mut entries);
            assert_eq!(entries.remove("time").as_deref(), Some("\"[string]\""), "{line}");
            let words = ["kind", "step"].map(|name| entries.remove(name).unwrap_or_default());
            writeln!(text, "{}", words.join(" ").replace('"', "").trim_end()).unwrap();
            for (key, value) in entries {
                writeln!(text, "  {key}: {value}").unwrap();
            }
        }
        text
    }

    /// The events of a run, and what it printed beside them.
    #[track_caller]
    fn events(&self, ran: &Ran) -> String {
        let mut told = Vec::new();
        for mut event in ran.stdout.lines().map(parse) {
            let host = event.as_object_mut().unwrap().remove("host");
            assert_eq!(host, Some(HOST.into()), "{event}");
            // How often it is told how far something has come is left to chance.
            if event["kind"] == "progress" { is_progress(&event) } else { told.push(event) }
        }
        let last = told.last().map(|event| event["kind"].clone());
        assert_eq!(last, Some("run-ended".into()), "{}", ran.text);
        let mut text = self.lines(&told);
        let beside = ran.text.strip_prefix(&ran.stdout).unwrap();
        if !beside.is_empty() {
            writeln!(text, "on standard error\n{}", self.text(beside).trim_end()).unwrap();
        }
        text
    }

    /// The files of a folder and their modes.
    fn folder(&self, dir: &Path) -> String {
        let line = |file: &std::path::PathBuf| {
            let name = self.text(&file.strip_prefix(dir).unwrap().display().to_string());
            format!("{:o} {name}", mode(file))
        };
        let lines: BTreeSet<String> = files_below(dir).iter().map(line).collect();
        lines.into_iter().collect::<Vec<_>>().join("\n")
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Every value that is no object under its path of keys.
fn flatten(path: &str, value: &Value, entries: &mut BTreeMap<String, String>) {
    let Value::Object(fields) = value else {
        entries.insert(path.to_owned(), value.to_string());
        return;
    };
    for (key, value) in fields {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        flatten(&path, value, entries);
    }
}

/// Requires the form that every event of this kind has.
#[track_caller]
fn is_progress(event: &Value) {
    let mut entries = BTreeMap::new();
    flatten("", event, &mut entries);
    for (key, value) in &entries {
        let expected = match key.as_str() {
            "kind" | "step" | "time" | "progress.label" => "string",
            "progress.bytes_done"
            | "progress.bytes_total"
            | "progress.items_done"
            | "progress.items_total" => "number",
            _ => "nothing",
        };
        assert_eq!(kind(&parse(value)), expected, "{key} in {event}");
    }
    assert!(entries.contains_key("progress.label") && entries.contains_key("step"), "{event}");
}
