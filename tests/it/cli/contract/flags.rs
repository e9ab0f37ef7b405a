//! The commands and their flags, as `--help` and the completions for zsh tell them.
//!
//! The texts beside the flags are free to change; their names, values, aliases and
//! conflicts are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use regex::Regex;

use crate::common::git::git;
use crate::common::have;
use crate::common::journey::run;

/// The steps, as `--until`, `--only`, `--skip` and `landfall log` name them.
const STEPS: [&str; 16] = [
    "check",
    "identity",
    "secrets",
    "lock",
    "installer",
    "hardware",
    "build",
    "disks",
    "copy",
    "install",
    "reboot",
    "login",
    "repos",
    "rebuild",
    "publish",
    "retire",
];

/// A line of help that begins something, and the lines below it.
struct Block {
    spec: String,
    text: Vec<String>,
}

/// A command as its `--help` tells it.
struct Help {
    path: Vec<String>,
    usage: String,
    sections: BTreeMap<String, Vec<Block>>,
}

type Options = BTreeMap<String, String>;

/// What the completions know of one flag beyond its help.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Completion {
    repeatable: bool,
    excludes: BTreeSet<String>,
}

#[test]
fn every_command_has_these_flags() {
    let dir = tempfile::tempdir().unwrap();
    let mut commands = Vec::new();
    walk(dir.path(), Vec::new(), &mut commands);
    let zsh = super::landfall(dir.path()).args(["completions", "zsh"]).output().unwrap();
    let mut completions = completions(&String::from_utf8(zsh.stdout).unwrap()).into_iter();
    let global = commands[0].options(&completions.next().unwrap().1);
    let mut shown = vec![("landfall".to_owned(), commands[0].show(&global, &Options::new()))];
    for command in &commands[1..] {
        let (name, known) = completions.next().expect("completions for every command");
        assert_eq!(Some(&name), command.path.last());
        for alias in command.aliases(&commands) {
            assert_eq!(completions.next().unwrap(), (alias, known.clone()), "flags of an alias");
        }
        shown.push((command.path.join("-"), command.show(&command.options(&known), &global)));
    }
    assert_eq!(completions.next(), None, "completions for a command without help");
    // One that differs does not hide the others.
    let differ = |(name, text): &(String, String)| {
        let compare = AssertUnwindSafe(|| super::matches(&format!("flags-{name}"), text));
        catch_unwind(compare).is_err().then(|| name.clone())
    };
    let different: Vec<String> = shown.iter().filter_map(differ).collect();
    assert!(different.is_empty(), "other flags than before: {}", different.join(", "));
}

#[test]
fn words_that_help_does_not_list_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    // Values are looked at before the flag that nobody knows, which keeps all from being done.
    let refusal = |words: &[&str]| {
        let mut command = super::landfall(dir.path());
        run(command.args(words).args(["-v", "--no-such-flag"])).ends(2, &[]).text.clone()
    };
    let refused = refusal(&["bootstrap", "guppy", "--until", "x"]);
    let (_, steps) = refused.lines().next().unwrap().split_once("the steps are ").unwrap();
    assert_eq!(steps.split(", ").collect::<Vec<_>>(), STEPS);
    let steps = STEPS.iter().flat_map(|step| {
        let flags = ["--until", "--only", "--skip"].map(|flag| vec!["bootstrap", "h", flag, step]);
        flags.into_iter().chain([vec!["log", "h", step]])
    });
    let places =
        ["auto", "source", "target", "local", "remote", "ssh-ng://builder"].into_iter().flat_map(
            |place| ["bootstrap", "install"].map(|name| vec![name, "h", "--build-on", place]),
        );
    let others = [
        "install .#h h --phases kexec,disko,install,reboot",
        "install .#h h --generate-hardware-config nixos-generate-config ./file.nix",
        "install .#h h --generate-hardware-config nixos-facter ./facter.json",
        "install .#h h --copy-host-keys",
        "install .#h h --copy-host-keys=/persist/etc/ssh",
        "install .#h h --store-paths /nix/store/disko /nix/store/system",
        "bootstrap h h --kexec-extra-flags --flag",
    ]
    .map(|line| line.split(' ').collect());
    for words in steps.chain(places).chain(others) {
        let text = refusal(&words);
        let taken = text.contains("unexpected argument '--no-such-flag'");
        assert!(taken, "{words:?} is not taken: {text}");
    }
}

#[test]
fn the_settings_file_has_these_keys() {
    if !have("git") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q"]);
    std::fs::write(dir.path().join("flake.nix"), "{ }").unwrap();
    std::fs::write(dir.path().join("landfall.toml"), "no-such-key = 1\n").unwrap();
    git(dir.path(), &["add", "."]);
    let ran = run(super::landfall(dir.path()).args(["plan", "guppy"]));
    let (_, keys) = ran.ends(2, &["landfall.toml"]).text.split_once("expected one of ").unwrap();
    let keys = keys.split('`').skip(1).step_by(2).collect::<Vec<_>>().join("\n");
    super::matches("settings-keys", &keys);
}

/// A command and all below it, in the order of the help.
fn walk(dir: &Path, path: Vec<String>, found: &mut Vec<Help>) {
    let ran = run(super::landfall(dir).args(&path).arg("--help"));
    let help = parse(path, &ran.succeeds().stdout);
    let below: Vec<Vec<String>> = help
        .section("Commands")
        .iter()
        .filter(|command| command.spec != "help")
        .map(|command| help.path.iter().chain([&command.spec]).cloned().collect())
        .collect();
    found.push(help);
    for path in below {
        walk(dir, path, found);
    }
}

fn parse(path: Vec<String>, help: &str) -> Help {
    let mut usage = String::new();
    let mut sections: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    let mut section = String::new();
    for line in help.lines() {
        if let Some(text) = line.strip_prefix("Usage: ") {
            usage = text.to_owned();
        } else if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            section = name.to_owned();
        } else if begins(line) {
            let (spec, text) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            let block = Block { spec: spec.to_owned(), text: vec![text.trim().to_owned()] };
            sections.entry(section.clone()).or_default().push(block);
        } else if let Some(block) = sections.get_mut(&section).and_then(|all| all.last_mut()) {
            block.text.push(line.trim().to_owned());
        }
    }
    Help { path, usage, sections }
}

/// Whether a line of a section is the first of a command, an argument or a flag.
fn begins(line: &str) -> bool {
    let text = line.trim_start();
    match line.len() - text.len() {
        2 => !text.is_empty(),
        6 => text.starts_with("--"),
        _ => false,
    }
}

impl Help {
    fn section(&self, name: &str) -> &[Block] {
        self.sections.get(name).map_or(&[], Vec::as_slice)
    }

    /// The other names of the command, which its parent's help has.
    fn aliases(&self, all: &[Self]) -> Vec<String> {
        let Some((name, parent)) = self.path.split_last() else { return Vec::new() };
        let parent = all.iter().find(|other| other.path == parent).unwrap();
        let own = parent.section("Commands").iter().find(|block| &block.spec == name).unwrap();
        let names = own.within("alias").or(own.within("aliases")).unwrap_or_default();
        names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Its flags by name, a line for each.
    fn options(&self, known: &BTreeMap<String, Completion>) -> Options {
        let line = |block: &Block| {
            let flag = block.spec.split([' ', ',', '[', '=']).find(|word| word.starts_with("--"));
            let flag = flag.unwrap_or(&block.spec);
            let known = known.get(flag).unwrap_or_else(|| panic!("no completion of {flag}"));
            let mut line = format!("{}{}", block.spec, block.details());
            if known.repeatable {
                line.push_str("; repeatable");
            }
            if !known.excludes.is_empty() {
                let others: Vec<&str> = known.excludes.iter().map(String::as_str).collect();
                write!(line, "; not with {}", others.join(", ")).unwrap();
            }
            (flag.to_owned(), line)
        };
        self.section("Options").iter().map(line).collect()
    }

    /// The snapshot; flags that every command has are left to that of the program.
    fn show(&self, options: &Options, global: &Options) -> String {
        let mut text = format!("{}\n", self.usage);
        for (section, name) in [("Commands", "command"), ("Arguments", "argument")] {
            for block in self.section(section) {
                writeln!(text, "{name} {}{}", block.spec, block.details()).unwrap();
            }
        }
        let is_shared = |name: &String| global.get(name) == options.get(name);
        let (shared, own): (Vec<_>, Vec<_>) = options.keys().partition(|name| is_shared(name));
        for name in own {
            writeln!(text, "{}", options[name]).unwrap();
        }
        if !shared.is_empty() {
            let shared: Vec<&str> = shared.into_iter().map(String::as_str).collect();
            writeln!(text, "as ever: {}", shared.join(" ")).unwrap();
        }
        text
    }
}

impl Block {
    /// The text in brackets after this word, as in `[env: NAME=]`.
    fn within(&self, word: &str) -> Option<String> {
        let text = self.text.join(" ");
        let (_, after) = text.split_once(&format!("[{word}: "))?;
        Some(after.split_once(']')?.0.to_owned())
    }

    /// Values, default, environment and aliases.
    fn details(&self) -> String {
        let mut text = String::new();
        let mut add = |what: &str, value: Option<String>| {
            if let Some(value) = value {
                write!(text, "; {what} {value}").unwrap();
            }
        };
        add("one of", self.within("possible values").or_else(|| self.listed_values()));
        // A default of several words is prose.
        add("default", self.within("default").filter(|value| !value.contains(' ')));
        add("environment", self.within("env").map(|env| env.trim_end_matches('=').to_owned()));
        add("alias", self.within("alias").or_else(|| self.within("aliases")));
        add("alias", self.within("short aliases"));
        text
    }

    /// Values that have a line of their own each.
    fn listed_values(&self) -> Option<String> {
        let lines = self.text.iter().skip_while(|line| *line != "Possible values:");
        let values = lines.filter_map(|line| line.strip_prefix("- "));
        let names: Vec<&str> = values.map(|v| v.split(':').next().unwrap_or(v)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// The commands of the completions for zsh in their order, aliases too, with their flags.
fn completions(zsh: &str) -> Vec<(String, BTreeMap<String, Completion>)> {
    let command = Regex::new(r"(?m)^\s*\(([\w-]+)\)\n_arguments ").unwrap();
    let flag = Regex::new(r"^'(?:\(([^)]*)\))?(\*?)(--?[\w-]+)[=+]?-?\[").unwrap();
    let mut starts: Vec<(usize, String)> = command
        .captures_iter(zsh)
        .map(|found| (found.get(0).unwrap().start(), found[1].to_owned()))
        .collect();
    starts.insert(0, (0, "landfall".to_owned()));
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([zsh.len()]);
    let mut all = Vec::new();
    for ((start, name), end) in starts.iter().zip(ends) {
        let flags: BTreeMap<String, Completion> = zsh[*start..end]
            .lines()
            .filter_map(|line| flag.captures(line))
            .map(|found| {
                let excludes = found.get(1).map_or("", |others| others.as_str());
                let excludes = excludes.split_whitespace().map(str::to_owned).collect();
                let repeatable = &found[2] == "*";
                (found[3].to_owned(), Completion { repeatable, excludes })
            })
            .collect();
        // What `help` takes is no command.
        if flags.contains_key("--help") {
            all.push((name.clone(), flags));
        }
    }
    all
}
