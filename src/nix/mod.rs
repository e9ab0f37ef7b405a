//! Nix on the source: evaluating, building, copying.
//!
//! Every call goes through the `nix` program in PATH with flakes turned on, never
//! writes a lock file unless that is its purpose, and reads nix's own log: work
//! becomes progress, and a failure becomes the error that nix meant.

mod build_settings;
mod error;
mod flake;
pub mod flake_ref;
mod json_log;
mod listener;
mod store_path;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use build_settings::BuildSettings;
pub use error::NixError;
pub use flake::{Input, Metadata};
pub use json_log::{Heard, JsonLog, Message};
pub use store_path::StorePath;

use listener::Listener;

use crate::exec::{Cmd, Output, Stream};
use crate::git;
use crate::run::event::{Events, Progress};

/// Evaluations and questions; builds and copies take as long as they take.
const QUESTION: Duration = Duration::from_secs(30 * 60);
/// What nix answers in JSON is a line, for large closures a long one.
const LARGEST_ANSWER: usize = 512 << 20;

/// A version of nix, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The first with `nix flake update INPUT`.
    pub const OLDEST: Self = Self(2, 19);

    /// Reads `nix (Nix) 2.34.8` and the forms of its relatives.
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

/// What the user passes through to nix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NixOptions {
    /// Input name and flake reference.
    pub override_inputs: Vec<(String, String)>,
    pub impure: bool,
    pub accept_flake_config: bool,
    /// `--option` names and values.
    pub options: Vec<(String, String)>,
    /// `-L`: lines of builders are reported.
    pub print_build_logs: bool,
    pub show_trace: bool,
}

/// Something that can be built, and the path that it will have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Derivation {
    pub drv: StorePath,
    pub out: StorePath,
}

/// Something worth telling while nix works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Progress(Progress),
    Warning(String),
    /// A line of a builder, with [`NixOptions::print_build_logs`].
    BuildLog(String),
}

/// Hands reports on to a run's events.
pub fn report_to(events: &Events) -> impl FnMut(Report) {
    let events = events.clone();
    move |report| match report {
        Report::Progress(progress) => events.progress(progress),
        Report::Warning(text) => events.warn(text),
        Report::BuildLog(line) => events.note(line),
    }
}

/// The nix of this machine, with the user's options.
#[derive(Debug, Clone)]
pub struct Nix {
    options: NixOptions,
    version: Version,
}

impl Nix {
    /// Looks for nix in PATH; it must not be older than [`Version::OLDEST`].
    pub fn find(options: NixOptions) -> Result<Self, NixError> {
        let text = Cmd::new("nix")
            .arg("--version")
            .deadline(QUESTION)
            .read()
            .map_err(|error| NixError::of("nix", error, &[], &[]))?;
        let version = Version::parse(&text)
            .ok_or_else(|| NixError::Answer { what: "its version".into(), why: text })?;
        if version < Version::OLDEST {
            return Err(NixError::TooOld { found: version });
        }
        Ok(Self { options, version })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The same with one more input overridden, `reference` a flake reference.
    #[must_use]
    pub fn with_override(&self, input: &str, reference: &str) -> Self {
        let mut nix = self.clone();
        nix.options.override_inputs.push((input.to_owned(), reference.to_owned()));
        nix
    }

    /// The value of `installable` (`FLAKE#ATTR`), after the function `apply`.
    pub fn eval_json<T: DeserializeOwned>(
        &self,
        installable: &str,
        apply: Option<&str>,
    ) -> Result<T, NixError> {
        let mut cmd = self.evaluating(&["eval", "--json"]).arg(installable);
        if let Some(apply) = apply {
            cmd = cmd.args(["--apply", apply]);
        }
        let output = self.run(installable, cmd.deadline(QUESTION), &mut |_| {})?;
        serde_json::from_slice(&output.stdout).map_err(|error| NixError::Answer {
            what: installable.to_owned(),
            why: error.to_string(),
        })
    }

    /// Builds and gives the outputs, in the order of `installables`.
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

    /// What `installable` (`FLAKE#ATTR`) holds, after the function `apply`, as derivations
    /// by name. They are in this machine's store afterwards, not built.
    pub fn derivations(
        &self,
        installable: &str,
        apply: &str,
    ) -> Result<BTreeMap<String, Derivation>, NixError> {
        self.eval_json(installable, Some(apply))
    }

    /// Builds derivations of this machine's store: here, or in the store at `elsewhere`, a
    /// URI and `NIX_SSHOPTS`. There they stay; what its own substituters have, it takes
    /// from them.
    pub fn realise(
        &self,
        derivations: &[&Derivation],
        elsewhere: Option<(&str, &str)>,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        let mut cmd = self.plain(&["build", "-v", "--no-link"]);
        if let Some((store, ssh_opts)) = elsewhere {
            cmd = cmd.args(["--store", store, "--eval-store", "auto"]);
            if !ssh_opts.is_empty() {
                cmd = cmd.env("NIX_SSHOPTS", ssh_opts);
            }
        }
        let what: Vec<&str> = derivations.iter().map(|derivation| derivation.out.name()).collect();
        let cmd = cmd.args(derivations.iter().map(|derivation| format!("{}^*", derivation.drv)));
        self.run(&what.join(", "), cmd, on_report).map(|_| ())
    }

    /// Copies the closures of `paths` from the store at `from` to this machine's.
    pub fn copy_from(
        &self,
        from: &str,
        paths: &[&StorePath],
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        let cmd = self.plain(&["copy", "-v", "--no-check-sigs", "--from", from]).args(paths);
        self.run("the copy", cmd, on_report).map(|_| ())
    }

    /// What nix's settings say of builds on this machine.
    pub fn build_settings(&self) -> Result<BuildSettings, NixError> {
        let cmd = self.plain(&["config", "show", "--json"]).deadline(QUESTION);
        let json = self.run("nix's settings", cmd, &mut |_| {})?.text();
        let read = |path: &str| std::fs::read_to_string(path).ok();
        BuildSettings::parse(&json, read)
            .map_err(|why| NixError::Answer { what: "nix's settings".into(), why })
    }

    /// Whether the store at `uri` answers.
    pub fn reaches(&self, uri: &str) -> Result<(), NixError> {
        let cmd = self.plain(&["store", "info", "--store", uri]).deadline(QUESTION);
        self.run(uri, cmd, &mut |_| {}).map(|_| ())
    }

    /// Copies the closures of `paths` to the store at `to`.
    ///
    /// `ssh_opts` becomes `NIX_SSHOPTS`. With `substitute` the other side takes what
    /// it can from its own substituters. Signatures are not asked for: this machine
    /// vouches for its store, and root's word counts there.
    pub fn copy(
        &self,
        to: &str,
        paths: &[StorePath],
        ssh_opts: &str,
        substitute: bool,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        self.copy_between(None, to, paths, ssh_opts, substitute, on_report)
    }

    /// [`Nix::copy`], of what the store `from` has; then its signatures count.
    pub fn copy_between(
        &self,
        from: Option<&str>,
        to: &str,
        paths: &[StorePath],
        ssh_opts: &str,
        substitute: bool,
        on_report: &mut dyn FnMut(Report),
    ) -> Result<(), NixError> {
        let mut cmd = self.plain(&["copy", "-v"]).args(["--to", to]);
        cmd = match from {
            Some(store) => cmd.args(["--from", store]),
            None => cmd.arg("--no-check-sigs"),
        };
        if substitute {
            cmd = cmd.arg("--substitute-on-destination");
        }
        let cmd = cmd.args(paths).env("NIX_SSHOPTS", ssh_opts);
        self.run("the copy", cmd, on_report).map(|_| ())
    }

    /// Puts the sources of a flake and of all its locked inputs into the store at
    /// `to`; gives the flake's own source.
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
        let answer = |why: String| NixError::Answer { what: flake.to_owned(), why };
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| answer(error.to_string()))?;
        let path = json.get("path").and_then(|path| path.as_str()).unwrap_or_default();
        path.parse().map_err(answer)
    }

    /// Moves one input of the flake in `dir` in its lock file, and nothing else.
    pub fn flake_update_input(&self, dir: &Path, input: &str) -> Result<(), NixError> {
        let what = format!("the input {input}");
        let cmd = self
            .plain(&["flake", "update", input])
            .arg("--flake")
            .arg(dir)
            .args(self.flake_flags());
        self.run(&what, cmd.deadline(QUESTION), &mut |_| {}).map(|_| ())
    }

    pub fn flake_metadata(&self, flake: &str) -> Result<Metadata, NixError> {
        let cmd = self.evaluating(&["flake", "metadata", "--json"]).arg(flake);
        let text = self.run(flake, cmd.deadline(QUESTION), &mut |_| {})?.text();
        Metadata::parse(&text).map_err(|why| NixError::Answer { what: flake.to_owned(), why })
    }

    /// The size of the closure of `path` in bytes, as archives.
    pub fn closure_size(&self, path: &StorePath) -> Result<u64, NixError> {
        let cmd = self.plain(&["path-info", "--closure-size"]).arg(path);
        let text = self.run(path.as_str(), cmd.deadline(QUESTION), &mut |_| {})?.text();
        text.split_ascii_whitespace()
            .next_back()
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| NixError::Answer { what: path.to_string(), why: text.clone() })
    }

    /// All paths that `path` needs, itself included.
    pub fn closure(&self, path: &StorePath) -> Result<Vec<StorePath>, NixError> {
        let cmd = self.plain(&["path-info", "--recursive"]).arg(path);
        let output = self.run(path.as_str(), cmd.deadline(QUESTION), &mut |_| {})?;
        paths(path.as_str(), &output)
    }

    /// Whether `path` is valid in the store at `store` (`auto` is this machine's).
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
            .deadline(QUESTION);
        match self.run(path.as_str(), cmd, &mut |_| {}) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("is not valid") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A command that evaluates: with the user's options, and no lock file written.
    fn evaluating(&self, args: &[&str]) -> Cmd {
        let mut cmd = self.plain(args).arg("--no-write-lock-file").args(self.flake_flags());
        for (input, reference) in &self.options.override_inputs {
            cmd = cmd.args(["--override-input", input, reference]);
        }
        cmd
    }

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

    fn plain(&self, args: &[&str]) -> Cmd {
        let mut cmd = Cmd::new("nix")
            .args(["--extra-experimental-features", "nix-command flakes"])
            .args(args)
            .args(["--log-format", "internal-json", "--option", "warn-dirty", "false"])
            .expect_output(LARGEST_ANSWER);
        for (name, value) in &self.options.options {
            cmd = cmd.args(["--option", name, value]);
        }
        // Nix fetches private inputs with git: that must not ask where nobody looks.
        git::without_questions(cmd)
    }

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

/// The lines of an answer as store paths.
fn paths(what: &str, output: &Output) -> Result<Vec<StorePath>, NixError> {
    output
        .text()
        .lines()
        .map(|line| line.parse().map_err(|why| NixError::Answer { what: what.to_owned(), why }))
        .collect()
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
