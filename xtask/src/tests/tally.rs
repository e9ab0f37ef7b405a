//! What passed, failed and was skipped, over all kinds of tests.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

/// How one check or journey ended, when it did not fail.
pub enum Ended {
    Passed,
    Skipped(String),
}

#[derive(Default)]
pub struct Tally {
    passed: u32,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    /// Runs one thing, says how it ended and counts it.
    pub fn run(&mut self, name: &str, thing: impl FnOnce() -> Result<Ended>) {
        println!("\n── {name}");
        let start = Instant::now();
        let ended = thing();
        let seconds = start.elapsed().as_secs_f64();
        match ended {
            Ok(Ended::Passed) => {
                self.passed += 1;
                println!("── {name}: passed in {seconds:.1} s");
            }
            Ok(Ended::Skipped(reason)) => {
                println!("── {name}: skipped: {reason}");
                self.skip(name, &reason);
            }
            Err(error) => {
                println!("── {name}: FAILED in {seconds:.1} s: {error:#}");
                self.failed.push(name.to_string());
            }
        }
    }

    /// Counts something that was not run.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(format!("{name}: {reason}"));
    }

    /// Counts what a test runner reported; its failures are named by `name`.
    pub fn add(&mut self, name: &str, passed: u32, failed: u32, skipped: Vec<String>) {
        self.passed += passed;
        self.failed.extend((0..failed).map(|_| name.to_string()));
        self.skipped.extend(skipped);
    }

    /// Prints the closing line, after the reasons for what is not among the passed.
    pub fn close(self) -> ExitCode {
        for reason in &self.skipped {
            println!("skipped: {reason}");
        }
        let mut failed = self.failed.clone();
        failed.dedup();
        for name in failed {
            println!("failed: {name}");
        }
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        println!("{} passed, {failed} failed, {skipped} skipped", self.passed);
        if failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
