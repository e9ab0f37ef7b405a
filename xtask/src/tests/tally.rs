//! What passed, failed and was skipped, over all kinds of tests.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::process::tail;

/// How one check or journey ended, when it did not fail.
pub(crate) enum Ended {
    Passed,
    /// What the first try said.
    PassedAtSecondTry(String),
    Skipped(String),
}

/// The counts, and the reasons for all that did not pass.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u32,
    failed: u32,
    /// What each failure is named, and the last that it said.
    failures: Vec<String>,
    flaky: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    /// Runs one thing, says how it ended and counts it.
    pub(crate) fn run(&mut self, name: &str, thing: impl FnOnce() -> Result<Ended>) {
        println!("\n── {name}");
        let start = Instant::now();
        let ended = thing();
        let seconds = start.elapsed().as_secs_f64();
        match ended {
            Ok(Ended::Passed) => {
                self.passed += 1;
                println!("── {name}: passed in {seconds:.1} s");
            }
            Ok(Ended::PassedAtSecondTry(first)) => {
                self.passed += 1;
                self.flaky.push(with_tail(name, &first));
                println!("── {name}: passed at the second try, {seconds:.1} s in all");
            }
            Ok(Ended::Skipped(reason)) => {
                println!("── {name}: skipped: {reason}");
                self.skip(name, &reason);
            }
            Err(error) => {
                println!("── {name}: FAILED in {seconds:.1} s: {error:#}");
                self.fail(1, name, &format!("{error:#}"));
            }
        }
    }

    /// Counts something that was not run.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(format!("{name}: {reason}"));
    }

    /// Counts `count` failures, which said `why`.
    pub(crate) fn fail(&mut self, count: u32, name: &str, why: &str) {
        self.failed += count;
        self.failures.push(with_tail(name, why));
    }

    /// Counts tests that a test runner reported as passed and as skipped.
    pub(crate) fn add(&mut self, passed: u32, skipped: Vec<String>) {
        self.passed += passed;
        self.skipped.extend(skipped);
    }

    /// Prints the closing line, after the reasons for what is not among the passed: whoever
    /// sees only the end of a long log shall know what failed.
    pub(crate) fn close(self) -> ExitCode {
        for reason in &self.skipped {
            println!("skipped: {reason}");
        }
        for first in &self.flaky {
            println!("flaky: {first}");
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        let (failed, skipped) = (self.failed, self.skipped.len());
        println!("{} passed, {failed} failed, {skipped} skipped", self.passed);
        if failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Writes a name, and below it the last of what was said.
fn with_tail(name: &str, why: &str) -> String {
    format!("{name}\n    {}", tail(why).replace('\n', "\n    "))
}
