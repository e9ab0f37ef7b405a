//! Runs the `nix` program of the machine that landfall runs on: evaluates, builds, copies.
//!
//! `json_log` and `listener` turn nix's log into progress and messages, `error` a failure into
//! its cause.
//!
//! Invariants: flakes are enabled for every call, whatever nix.conf says; only
//! [`Nix::flake_update_input`] writes a lock file; no call prompts.

mod build_settings;
mod error;
mod flake;
pub(crate) mod flake_ref;
mod json_log;
mod listener;
mod store_path;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use build_settings::BuildSettings;
pub use error::NixError;
pub(crate) use flake::FlakeMetadata;
pub use store_path::{StorePath, StorePathError};

use listener::Listener;

use crate::exec::{Cmd, Output, Stream};
use crate::git;
use crate::run::event::{Events, Progress};

/// Time limit of evaluations and queries. Builds and copies have none.
const QUERY_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// Largest answer in JSON: a line, which for large closures is a long one.
const LARGEST_ANSWER: usize = 512 << 20;

/// The major and minor version of nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The oldest supported version: the first with `nix flake update INPUT`.
    pub(crate) const OLDEST: Self = Self(2, 19);

    /// Parses the output of `nix --version`, as `nix (Nix) 2.34.8`; Lix and Determinate Nix too.
    fn parse(text: &str) -> Option<Self> {
        let number = text.lines().next()?.split_ascii_whitespace().next_back()?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Options that the user passes through to nix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NixOptions {
    /// Names of inputs, each with the flake reference that overrides it.
    pub override_inputs: Vec<(String, String)>,
    pub impure: bool,
    pub accept_flake_config: bool,
    /// Names and values of `--option`.
    pub options: Vec<(String, String)>,
    /// Reports the output of builders, as `nix build -L` does.
    pub print_build_logs: bool,
    pub show_trace: bool,
}

/// A derivation and the store path of its output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Derivation {
    pub(crate) drv: StorePath,
    pub(crate) out: StorePath,
}

/// An event of a running nix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Progress(Progress),
    Warning(String),
    /// A line of a builder's output, where [`NixOptions::print_build_logs`] is set.
    BuildLog(String),
}

/// Returns a callback that forwards reports to a run's events.
pub(crate) fn report_to(events: &Events) -> impl FnMut(Report) {
    let events = events.clone();
    move |report| match report {
        Report::Progress(progress) => events.progress(progress),
        Report::Warning(text) => events.warn(text),
        Report::BuildLog(line) => events.note(line),
    }
}

/// A store other than this machine's, and how it is reached.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    /// As nix takes it: `ssh-ng://root@host`.
    pub uri: &'a str,
    /// Value of NIX_SSHOPTS, may be empty.
    pub ssh_opts: &'a str,
}

/// Where the destination of a copy takes paths from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Substitutes {
    /// From its own substituters, where they have them.
    ByDestination,
    /// From the source alone.
    None,
}

/// The nix program of this machine, with the user's options.
#[derive(Debug, Clone)]
pub struct Nix {
    options: NixOptions,
}

impl Nix {
    /// Finds nix in PATH, and refuses one older than [`Version::OLDEST`].
    pub fn find(options: NixOptions) -> Result<Self, NixError> {
        let text = Cmd::new("nix")
            .arg("--version")
            .deadline(QUERY_DEADLINE)
            .read()
            .map_err(|error| NixError::classify("nix", error, &[], &[]))?;
        let version = Version::parse(&text)
            .ok_or_else(|| NixError::Output { what: "--version".into(), why: text })?;
        if version < Version::OLDEST {
            return Err(NixError::TooOld { found: version });
        }
        Ok(Self { options })
    }

    /// Returns a copy that also overrides `input` with the flake reference `reference`.
    #[must_use]
    pub fn with_override(&self, input: &str, reference: &str) -> Self {
        let mut nix = self.clone();
        nix.options.override_inputs.push((input.to_owned(), reference.to_owned()));
        nix
    }

    /// Evaluates `installable` (`FLAKE#ATTR`), applies the Nix function `apply`, and returns the
    /// result.
    pub fn eval_json<T: DeserializeOwned>(
        &self,
        installable: &str,
        apply: Option<&str>,
    ) -> Result<T, NixError> {
        let mut cmd = self.evaluating(&["eval", "--json"]).arg(installable);
        if let Some(apply) = apply {
            cmd = cmd.args(["--apply", apply]);
        }
        let output = self.run(installable, cmd.deadline(QUERY_DEADLINE), &mut |_| {})?;
        serde_json::from_slice(&output.stdout).map_err(|error| output_error(installable, error))
    }

    /// Builds `installables` and returns their outputs, in order.
    pub fn build(
        &self,
        installables: &[&str],
        on_report: &mut dyn FnMut(Report),
    ) -> Result<Vec<StorePath>, NixError> {
        let what = installables.join(" ");
        let cmd =
            self.evaluating(&["build", "-v", "--no-link", "--print-out-paths"]).args(installables);
        let output = self.run(&what, cmd, on_report)?;
        paths(&what, &output)
    }

    /// Evaluates `installable` (`FLAKE#ATTR`) to derivations by name, after the Nix function
    /// `apply`. This writes the derivations to this machine's store, and builds none.
    pub(crate) fn derivations(
        &self,
        installable: &str,
        apply: &str,
    ) -> Result<BTreeMap<String, Derivation>, NixError> {
        self.eval_json(installable, Some(apply))
    }

    /// Builds derivations of this machine's store: here, or in `store`, where the outputs then
    /// stay. `store` uses its own substituters.
    pub(crate) fn realise(
        &self,
        derivations: &[&Derivation],
        store: Option<Store<'_>>,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        let mut cmd = self.plain(&["build", "-v", "--no-link"]);
        if let Some(Store { uri, ssh_opts }) = store {
            cmd = cmd.args(["--store", uri, "--eval-store", "auto"]);
            if !ssh_opts.is_empty() {
                cmd = cmd.env("NIX_SSHOPTS", ssh_opts);
            }
        }
        let what: Vec<&str> = derivations.iter().map(|derivation| derivation.out.name()).collect();
        let cmd = cmd.args(derivations.iter().map(|derivation| format!("{}^*", derivation.drv)));
        self.run(&what.join(", "), cmd, on_report).map(|_| ())
    }

    /// Copies the closures of `paths` from the store at the URI `from` to this machine's, without
    /// checking signatures.
    pub(crate) fn copy_from(
        &self,
        from: &str,
        paths: &[&StorePath],
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        let cmd = self.plain(&["copy", "-v", "--no-check-sigs", "--from", from]).args(paths);
        self.run("the copy", cmd, on_report).map(|_| ())
    }

    /// Reads nix's settings about builds on this machine.
    pub(crate) fn build_settings(&self) -> Result<BuildSettings, NixError> {
        let cmd = self.plain(&["config", "show", "--json"]).deadline(QUERY_DEADLINE);
        let json = self.run("nix's settings", cmd, &mut |_| {})?.text();
        let read = |path: &str| std::fs::read_to_string(path).ok();
        BuildSettings::parse(&json, read).map_err(|error| output_error("nix's settings", error))
    }

    /// Checks that the store at `uri` answers.
    pub(crate) fn check_store(&self, uri: &str) -> Result<(), NixError> {
        let cmd = self.plain(&["store", "info", "--store", uri]).deadline(QUERY_DEADLINE);
        self.run(uri, cmd, &mut |_| {}).map(|_| ())
    }

    /// Copies the closures of `paths` to the store `to`, from the store at the URI `from` or else
    /// from this machine's.
    ///
    /// Signatures are checked only with `from`: this machine trusts its own store, and `to` is
    /// written by root there.
    pub fn copy(
        &self,
        from: Option<&str>,
        to: Store<'_>,
        paths: &[StorePath],
        substitutes: Substitutes,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        let mut cmd = self.plain(&["copy", "-v"]).args(["--to", to.uri]);
        cmd = match from {
            Some(store) => cmd.args(["--from", store]),
            None => cmd.arg("--no-check-sigs"),
        };
        if substitutes == Substitutes::ByDestination {
            cmd = cmd.arg("--substitute-on-destination");
        }
        let cmd = cmd.args(paths).env("NIX_SSHOPTS", to.ssh_opts);
        self.run("the copy", cmd, on_report).map(|_| ())
    }

    /// Copies the sources of a flake and of all its locked inputs to the store at the URI `to`;
    /// returns the store path of the flake's own source.
    pub fn flake_archive_to(
        &self,
        flake: &str,
        to: &str,
        ssh_opts: &str,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<StorePath, NixError> {
        let cmd = self
            .evaluating(&["flake", "archive", "-v", "--json", "--to", to])
            .arg(flake)
            .env("NIX_SSHOPTS", ssh_opts);
        let output = self.run(flake, cmd, on_report)?;
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| output_error(flake, error))?;
        let path = json.get("path").and_then(|path| path.as_str()).unwrap_or_default();
        path.parse().map_err(|error: StorePathError| output_error(flake, error))
    }

    /// Updates the lock of one input of the flake in `dir`, and of no other.
    pub fn flake_update_input(&self, dir: &Path, input: &str) -> Result<(), NixError> {
        let what = format!("the input {input}");
        let cmd = self
            .plain(&["flake", "update", input])
            .arg("--flake")
            .arg(dir)
            .args(self.flake_flags());
        self.run(&what, cmd.deadline(QUERY_DEADLINE), &mut |_| {}).map(|_| ())
    }

    /// Reads the metadata of a flake, and locks it in memory where it has no lock file.
    pub fn flake_metadata(&self, flake: &str) -> Result<FlakeMetadata, NixError> {
        let cmd = self.evaluating(&["flake", "metadata", "--json"]).arg(flake);
        let text = self.run(flake, cmd.deadline(QUERY_DEADLINE), &mut |_| {})?.text();
        FlakeMetadata::parse(&text).map_err(|error| output_error(flake, error))
    }

    /// Returns the size of the closure of `path`, as NAR archives, in bytes.
    pub fn closure_size(&self, path: &StorePath) -> Result<u64, NixError> {
        let cmd = self.plain(&["path-info", "--closure-size"]).arg(path);
        let text = self.run(path.as_str(), cmd.deadline(QUERY_DEADLINE), &mut |_| {})?.text();
        text.split_ascii_whitespace()
            .next_back()
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| NixError::Output { what: path.to_string(), why: text.clone() })
    }

    /// Returns the closure of `path`: itself and all paths that it refers to, recursively.
    pub fn closure(&self, path: &StorePath) -> Result<Vec<StorePath>, NixError> {
        let cmd = self.plain(&["path-info", "--recursive"]).arg(path);
        let output = self.run(path.as_str(), cmd.deadline(QUERY_DEADLINE), &mut |_| {})?;
        paths(path.as_str(), &output)
    }

    /// Says whether `path` is valid in the store at the URI `store` (`auto` is this machine's).
    pub fn is_valid_in(
        &self,
        store: &str,
        path: &StorePath,
        ssh_opts: &str,
    ) -> Result<bool, NixError> {
        let cmd = self
            .plain(&["path-info", "--store", store])
            .arg(path)
            .env("NIX_SSHOPTS", ssh_opts)
            .deadline(QUERY_DEADLINE);
        match self.run(path.as_str(), cmd, &mut |_| {}) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("is not valid") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns a command that evaluates flakes: with the user's overrides, without writing a lock
    /// file.
    fn evaluating(&self, args: &[&str]) -> Cmd {
        let mut cmd = self.plain(args).arg("--no-write-lock-file").args(self.flake_flags());
        for (input, reference) in &self.options.override_inputs {
            cmd = cmd.args(["--override-input", input, reference]);
        }
        cmd
    }

    /// Returns the user's options that every command on flakes takes.
    fn flake_flags(&self) -> Vec<&'static str> {
        let options = &self.options;
        [
            (options.impure, "--impure"),
            (options.accept_flake_config, "--accept-flake-config"),
            (options.show_trace, "--show-trace"),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .collect()
    }

    /// Returns a command with the user's settings that reads no flake.
    fn plain(&self, args: &[&str]) -> Cmd {
        let mut cmd = Cmd::new("nix")
            .args(["--extra-experimental-features", "nix-command flakes"])
            .args(args)
            .args(["--log-format", "internal-json", "--option", "warn-dirty", "false"])
            .expect_output(LARGEST_ANSWER);
        for (name, value) in &self.options.options {
            cmd = cmd.args(["--option", name, value]);
        }
        // nix fetches private inputs with git, whose prompts would be hidden behind the progress.
        git::without_questions(cmd)
    }

    /// Runs a command about `what`, reporting events, and classifies a failure.
    fn run(
        &self,
        what: &str,
        cmd: Cmd,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<Output, NixError> {
        let mut listener = Listener::new(self.options.print_build_logs, on_report);
        let outcome = cmd.quiet().stream(|stream, line| {
            if stream == Stream::Stderr {
                listener.line(line);
            }
        });
        listener.end();
        outcome.map_err(|error| listener.error(what, error))
    }
}

/// Parses output with a store path in each line.
fn paths(what: &str, output: &Output) -> Result<Vec<StorePath>, NixError> {
    output
        .text()
        .lines()
        .map(|line| line.parse().map_err(|error: StorePathError| output_error(what, error)))
        .collect()
}

fn output_error(what: &str, error: impl fmt::Display) -> NixError {
    NixError::Output { what: what.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_nix_and_its_relatives() {
        for (text, version) in [
            ("nix (Nix) 2.34.8", Version(2, 34)),
            ("nix (Nix) 2.18.1", Version(2, 18)),
            ("nix (Lix, like Nix) 2.91.0\nSystem type: x", Version(2, 91)),
            ("nix (Determinate Nix 3.5.1) 2.28.3", Version(2, 28)),
            ("nix (Nix) 2.25pre20240920_abc", Version(2, 25)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert!(Version::parse("nix (Nix) 2.8.0").unwrap() < Version::OLDEST);
        assert_eq!(Version::parse("something else"), None);
    }
}
