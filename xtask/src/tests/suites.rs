//! The tests of the workspace and of the stand-in nixpkgs, inside the lab.
//!
//! A test that cannot run here prints a line `SKIPPED: REASON` and returns; it is counted
//! as skipped, not as passed.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::tally::Tally;
use crate::checkout;
use crate::lab::enter;
use crate::process::in_path;

const LAB_TESTS: &str = "lab/tests/run.sh";

/// What a test runner reported.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: Vec<String>,
}

const NEXTEST: [&str; 12] = [
    "cargo",
    "nextest",
    "run",
    "--workspace",
    "--locked",
    "--no-fail-fast",
    // Real programs under load: what fails once is tried once more, and named as flaky.
    "--retries",
    "1",
    "--success-output",
    "final",
    "--color",
    "never",
];

const CARGO_TEST: [&str; 9] = [
    "cargo",
    "test",
    "--workspace",
    "--locked",
    "--no-fail-fast",
    "--",
    "--show-output",
    "--color",
    "never",
];

/// How the lines of a test begin that tell how it ended, and those of the runner.
const PROGRESS: [&str; 10] = [
    "PASS ",
    "FAIL ",
    "SLOW ",
    "TIMEOUT ",
    "TRY ",
    "FLAKY ",
    "Summary ",
    "test ",
    "Compiling ",
    "error",
];

/// Runs the tests of the stand-in nixpkgs, then those of the workspace.
pub(crate) fn run(tally: &mut Tally) {
    run_suite(tally, "stand-in nixpkgs", &[LAB_TESTS], lab_counts);
    if in_path("cargo-nextest") {
        run_suite(tally, "cargo nextest", &NEXTEST, nextest_counts);
    } else {
        run_suite(tally, "cargo test", &CARGO_TEST, cargo_test_counts);
    }
}

/// Runs a test runner in the lab, showing its lines, and counts what it reports.
fn run_suite(tally: &mut Tally, name: &str, words: &[&str], counts: fn(&str) -> Option<Counts>) {
    println!("\n── {name}");
    match run_in_lab(words) {
        Ok((succeeded, text)) => match counts(&text) {
            Some(counts) if succeeded == (counts.failed == 0) => {
                tally.add(counts.passed, counts.skipped);
                if counts.failed > 0 {
                    tally.fail(counts.failed, name, &failures(&text));
                }
            }
            _ => tally.run(name, || bail!("it ended without a summary that fits its exit status")),
        },
        Err(error) => tally.run(name, || Err(error)),
    }
}

/// Says whether a line tells how one test ended; the rest is shown only when something failed.
fn tells_progress(line: &str) -> bool {
    PROGRESS.iter().any(|start| line.trim_start().starts_with(start))
}

/// Runs a command in the lab; gives whether it succeeded, and all its lines.
fn run_in_lab(words: &[&str]) -> Result<(bool, String)> {
    let words: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
    let mut child = enter::command(&words)?
        .current_dir(checkout::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot enter the lab")?;
    let (sender, lines) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    let mut text = String::new();
    let mut summed_up = false;
    for line in lines {
        // What nextest prints after its summary are the outputs of tests that passed.
        if !summed_up && tells_progress(&line) {
            println!("{line}");
        }
        summed_up |= line.trim_start().starts_with("Summary ");
        text.push_str(&line);
        text.push('\n');
    }
    let succeeded = child.wait()?.success();
    if !succeeded {
        println!("{text}");
    }
    Ok((succeeded, text))
}

/// Sends every line on, as it comes.
fn forward(from: Option<impl Read + Send + 'static>, to: mpsc::Sender<String>) {
    let Some(from) = from else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let _ = to.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// Returns the lines that name the tests that failed, each once.
fn failures(text: &str) -> String {
    let names = |line: &&str| {
        ["FAIL ", "TIMEOUT ", "FAILED "].iter().any(|start| line.starts_with(start))
            || line.starts_with("test ") && line.ends_with("FAILED")
    };
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(names).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.join("\n")
}

/// Returns the reasons of the tests that said they are skipped.
fn skipped(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("SKIPPED: "));
    lines.map(str::to_string).collect()
}

/// Reads `N passed, N failed`, perhaps with `, N skipped` and lines that say what.
fn lab_counts(text: &str) -> Option<Counts> {
    let line = Regex::new(r"(?m)^(\d+) passed, (\d+) failed").ok()?;
    let found = line.captures_iter(text).last()?;
    Some(Counts {
        passed: found[1].parse().ok()?,
        failed: found[2].parse().ok()?,
        skipped: skipped(text),
    })
}

/// Reads `Summary [ 1.2s] 9 tests run: 8 passed (1 slow), 1 failed, 2 skipped`; its own skipped
/// tests are the ignored ones.
fn nextest_counts(text: &str) -> Option<Counts> {
    let summary = text.lines().rfind(|line| line.trim().starts_with("Summary ["))?;
    let count = |what: &str| {
        let pattern = Regex::new(&format!(r"(\d+) {what}")).ok()?;
        pattern.captures(summary)?[1].parse::<u32>().ok()
    };
    let failed = ["failed", "timed out", "exec failed"].iter().filter_map(|what| count(what)).sum();
    Some(counted(count("passed")?, failed, count("skipped").unwrap_or(0), text))
}

/// Adds up lines as `test result: ok. 8 passed; 0 failed; 1 ignored; …`.
fn cargo_test_counts(text: &str) -> Option<Counts> {
    let line =
        Regex::new(r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored").ok()?;
    let mut sums = [0; 3];
    for found in line.captures_iter(text) {
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum += found[index + 1].parse::<u32>().ok()?;
        }
    }
    let [passed, failed, ignored] = sums;
    (passed + failed + ignored > 0).then(|| counted(passed, failed, ignored, text))
}

/// Takes the skipped out of the passed: a test that said it is skipped has returned, and so was
/// counted among these.
fn counted(passed: u32, failed: u32, ignored: u32, text: &str) -> Counts {
    let mut reasons = skipped(text);
    let passed = passed.saturating_sub(u32::try_from(reasons.len()).unwrap_or(0));
    reasons.extend((0..ignored).map(|_| "marked #[ignore]".to_string()));
    Counts { passed, failed, skipped: reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_nextest_is_counted() {
        let text = "SKIPPED: corpus: not beside the checkout\n\
                    Summary [   1.250s] 12 tests run: 10 passed (1 slow), 2 failed, 3 skipped\n";
        let counts = nextest_counts(text).expect("a summary");
        assert_eq!((counts.passed, counts.failed, counts.skipped.len()), (9, 2, 4));
    }

    #[test]
    fn summaries_of_cargo_test_are_added_up() {
        let text = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        let counts = cargo_test_counts(text).expect("two summaries");
        assert_eq!((counts.passed, counts.failed, counts.skipped.len()), (6, 2, 1));
    }

    #[test]
    fn what_failed_is_named_once() {
        let text = "        FAIL [   2.0s] (3/9) landfall::check one\n\
                    test two ... FAILED\ntest three ... ok\n\
                    Summary [   2.1s] 9 tests run\n\
                    FAIL [   2.0s] (3/9) landfall::check one\n";
        assert_eq!(failures(text), "FAIL [   2.0s] (3/9) landfall::check one\ntest two ... FAILED");
    }

    #[test]
    fn no_summary_is_no_result() {
        assert_eq!(nextest_counts("error: could not compile"), None);
        assert_eq!(cargo_test_counts(""), None);
        assert_eq!(lab_counts("nothing"), None);
    }
}
