//! Journeys in virtual machines, one after another.
//!
//! Each is a run of the demo as a process of its own. It must end as its scenario says:
//! well, or not, and then for the reason that was planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use super::tally::{Ended, Tally};
use crate::cache::Cache;
use crate::journey::{self, Ending, Scenario, Schedule};
use crate::process::{own_program, tail};

/// How many of those that are taken in turn are made a day.
const TURNS_A_DAY: usize = 2;

/// A journey on a quiet machine takes four to eight minutes.
const WORTH_A_RETRY: Duration = Duration::from_secs(10 * 60);

/// Which journeys are made.
pub(crate) enum Which {
    /// The core, and today's share of the others.
    Today,
    All,
    /// These alone.
    Named(Vec<Scenario>),
}

/// Makes these journeys, and counts as skipped what has its turn on another day.
pub(crate) fn run(cache: &Cache, which: &Which, tally: &mut Tally) {
    match which {
        Which::Named(scenarios) => scenarios.iter().for_each(|one| make(cache, one, tally)),
        Which::All => journey::all().iter().for_each(|one| make(cache, one, tally)),
        Which::Today => {
            let (core, in_turn): (Vec<_>, Vec<_>) =
                journey::all().into_iter().partition(|one| one.schedule == Schedule::Core);
            let turns = turns(today(), in_turn.len());
            core.iter().for_each(|one| make(cache, one, tally));
            for (index, one) in in_turn.iter().enumerate() {
                if turns.contains(&index) {
                    make(cache, one, tally);
                } else {
                    tally.skip(&title(one), "another day's turn; --all makes it");
                }
            }
        }
    }
}

/// Makes a journey, once more when it failed soon.
fn make(cache: &Cache, scenario: &Scenario, tally: &mut Tally) {
    tally.run(&title(scenario), || {
        let began = Instant::now();
        let Err(first) = check(cache, scenario) else { return Ok(Ended::Passed) };
        // An emulated machine under load: what fails once is tried once more, as a test is;
        // what hung until its deadline would take too long again.
        if began.elapsed() > WORTH_A_RETRY {
            return Err(first);
        }
        println!("── {} failed and is tried once more: {first:#}", scenario.name);
        check(cache, scenario)?;
        Ok(Ended::PassedAtSecondTry(format!("{first:#}")))
    });
}

/// Chooses which of `count` have their turn on a day: each in its time, none twice a day.
fn turns(day: usize, count: usize) -> Vec<usize> {
    (0..TURNS_A_DAY.min(count)).map(|n| (day * TURNS_A_DAY + n) % count).collect()
}

fn title(scenario: &Scenario) -> String {
    format!("journey {}: {}", scenario.name, scenario.shows)
}

/// Counts the days since 1970.
fn today() -> usize {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    usize::try_from(seconds / 86_400).unwrap_or(0)
}

/// Makes a journey as a process of its own, and looks whether it ends as it must.
fn check(cache: &Cache, scenario: &Scenario) -> Result<()> {
    let log = log_file(cache, scenario)?;
    let file = fs::File::create(&log)?;
    let status = Command::new(own_program()?)
        .args(["demo", "--journey", scenario.name])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    let text = fs::read_to_string(&log)?;
    match (&scenario.ending, status.success()) {
        (Ending::Success, true) => println!("{}", last_part(&text)),
        (Ending::Failure { saying }, false) => {
            says_all(&text, saying).with_context(|| end(&text, &log))?;
        }
        (Ending::Failure { .. }, true) => bail!("it must not succeed:\n{}", end(&text, &log)),
        (Ending::Success, false) => bail!("{status}:\n{}", end(&text, &log)),
    }
    Ok(())
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
    Ok(dir.join(format!("journey-{}.log", scenario.name)))
}

/// Returns the tables at the end of a journey that went well.
fn last_part(text: &str) -> &str {
    text.find("\nstate ").map_or(text, |at| &text[at + 1..])
}

fn end(text: &str, log: &Path) -> String {
    format!("{}\n(all of it in {})", tail(text), log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_turn_and_none_twice_a_day() {
        for count in [1, 2, 3, 5, 6, 7, 12] {
            let mut seen = vec![false; count];
            for day in 0..count {
                let mut turns = turns(day, count);
                turns.iter().for_each(|turn| seen[*turn] = true);
                turns.dedup();
                assert_eq!(turns.len(), TURNS_A_DAY.min(count));
            }
            assert!(seen.into_iter().all(|seen| seen), "{count}");
        }
        assert!(turns(4, 0).is_empty());
    }
}
