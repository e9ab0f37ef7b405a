//! `cargo xtask corpus`: what becomes of every `.sops.yaml` of a corpus of real ones, as a
//! table.
//!
//! The table is made by the test that holds it (`tests/it/sops/corpus.rs`), in the lab, where
//! real sops is.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::checkout;
use crate::lab::enter;

/// One of these is in every row of the table.
const ROW_WORDS: [&str; 5] = ["edited: ", "refused", "FAILED ", "SKIPPED: ", " files, "];

/// The flags of `cargo xtask corpus`.
#[derive(Args)]
pub(crate) struct CorpusArgs {
    /// Folder of YAML files, or one with a folder sops-yaml in it
    #[arg(default_value_os_t = checkout::root().join("../shared/corpus"))]
    dir: PathBuf,
}

/// Makes the table and prints its rows.
pub(crate) fn run(args: &CorpusArgs) -> Result<ExitCode> {
    let dir = args
        .dir
        .canonicalize()
        .with_context(|| format!("there is no corpus in {}", args.dir.display()))?;
    let words = ["cargo", "test", "--quiet", "--test", "it", "sops::corpus::", "--", "--nocapture"];
    let output = enter::command(&words.map(OsStr::new))?
        .current_dir(checkout::root())
        .env("LANDFALL_CORPUS", &dir)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot enter the lab")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let is_row = |line: &&str| {
        ROW_WORDS.iter().any(|word| line.contains(word)) && !line.starts_with("test ")
    };
    let rows: Vec<&str> = text.lines().filter(is_row).collect();
    rows.iter().for_each(|row| println!("{row}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(!rows.is_empty(), "no table was made:\n{text}{errors}");
    if !output.status.success() {
        eprintln!("{errors}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
