//! Ring 3: journeys in virtual machines, one after another.
//!
//! Each is a run of the demo as a process of its own. One must succeed as it is, one after
//! a kill; the others must fail, and for the reason that was planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use super::tally::{Ended, Tally};
use crate::cache::Cache;
use crate::run::tail;

/// How a journey must end.
enum Ends {
    Well,
    /// Not well, and the output says all of this.
    Saying(&'static [&'static str]),
}

struct Scenario {
    name: &'static str,
    arguments: &'static [&'static str],
    ends: Ends,
}

/// Run in every full test.
const CORE: [Scenario; 2] = [
    Scenario { name: "staged, LUKS, secrets", arguments: &[], ends: Ends::Well },
    Scenario {
        name: "killed in the middle of the copy",
        arguments: &["--kill-during", "copy"],
        ends: Ends::Well,
    },
];

const UNTOUCHED: &str = "the disk is untouched";

/// Taken in turn, one a day.
const IN_TURN: [Scenario; 5] = [
    Scenario {
        name: "AHCI disk, root empty at every boot",
        arguments: &["--bus", "ahci", "--layout", "btrfs-luks-impermanence"],
        ends: Ends::Well,
    },
    Scenario {
        name: "a required unit that fails",
        arguments: &["--sabotage", "unit"],
        ends: Ends::Saying(&[r"sabotage\.service"]),
    },
    Scenario {
        name: "a corrupted secret",
        arguments: &["--sabotage", "secret"],
        ends: Ends::Saying(&[r"guppy\.yaml", UNTOUCHED]),
    },
    Scenario {
        name: "another host key",
        arguments: &["--sabotage", "host-key"],
        ends: Ends::Saying(&["SHA256:AAAAAAAA", UNTOUCHED]),
    },
    Scenario {
        name: "a refused push",
        arguments: &["--sabotage", "push"],
        ends: Ends::Saying(&["this branch is protected", UNTOUCHED]),
    },
];

pub fn run(cache: &Cache, all: bool, tally: &mut Tally) {
    for scenario in &CORE {
        tally.run(&title(scenario), || check(cache, scenario));
    }
    let turn = today() % IN_TURN.len();
    for (index, scenario) in IN_TURN.iter().enumerate() {
        if all || index == turn {
            tally.run(&title(scenario), || check(cache, scenario));
        } else {
            tally.skip(&title(scenario), "another day's turn; --all runs it");
        }
    }
}

fn title(scenario: &Scenario) -> String {
    format!("journey: {}", scenario.name)
}

/// Days since 1970.
fn today() -> usize {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    usize::try_from(seconds / 86_400).unwrap_or(0)
}

fn check(cache: &Cache, scenario: &Scenario) -> Result<Ended> {
    let log = log_file(cache, scenario)?;
    let file = fs::File::create(&log)?;
    let status = Command::new(crate::run::own_program()?)
        .arg("demo")
        .args(scenario.arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    let text = fs::read_to_string(&log)?;
    match (&scenario.ends, status.success()) {
        (Ends::Well, true) => println!("{}", last_part(&text)),
        (Ends::Saying(reasons), false) => {
            says_all(&text, reasons).with_context(|| end(&text, &log))?;
        }
        (Ends::Saying(_), true) => bail!("it must not succeed:\n{}", end(&text, &log)),
        (Ends::Well, false) => bail!("{status}:\n{}", end(&text, &log)),
    }
    Ok(Ended::Passed)
}

fn says_all(text: &str, reasons: &[&str]) -> Result<()> {
    for reason in reasons {
        ensure!(Regex::new(reason)?.is_match(text), "it failed without saying {reason}");
    }
    Ok(())
}

fn log_file(cache: &Cache, scenario: &Scenario) -> Result<PathBuf> {
    let dir = cache.path("log");
    fs::create_dir_all(&dir).context("cannot make the folder of logs")?;
    let name = scenario.name.replace([' ', ','], "-");
    Ok(dir.join(format!("journey-{name}.log")))
}

/// The tables at the end of a journey that went well.
fn last_part(text: &str) -> &str {
    text.find("\nstate ").map_or(text, |at| &text[at + 1..])
}

fn end(text: &str, log: &Path) -> String {
    format!("{}\n(all of it in {})", tail(text), log.display())
}
