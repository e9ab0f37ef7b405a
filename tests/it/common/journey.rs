//! A source machine for whole runs of `landfall`: an operator's home with the two
//! repositories that `landfall init` writes, their remotes, and a target.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use landfall::run::journal::{Entry, Journal as RunJournal};
use landfall::run::step::{Evidence, StepId};
use serde_json::Value;
use tempfile::TempDir;

use super::git::git;
use super::installer::{DEVICE, Installer, SERIAL};
use super::sshd;
use super::{have, skipped};

pub const HOST: &str = "guppy";
pub const USER: &str = "alice";
/// What must never be seen where it does not belong.
pub const PASSPHRASE: &str = "canary passphrase: it's 100% $(secret)";
pub const PASSWORD: &str = "canary password of the primary user";

/// What a run of a program left.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    /// Both streams.
    pub text: String,
}

impl Ran {
    /// Requires the exit code and, in what was printed, each of `words`.
    #[track_caller]
    pub fn ends(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        // Lines are wrapped at the width of a terminal.
        let text = one_line(&self.text);
        for word in words {
            assert!(text.contains(&one_line(word)), "no {word:?} in:\n{}", self.text);
        }
        self
    }

    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        self.ends(0, &[])
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Both machines.
pub struct Journey {
    pub root: TempDir,
    pub target: Installer,
}

impl Journey {
    /// A host with an encrypted disk and secrets; nothing of a run yet. None, and said
    /// so, where the lab is missing.
    pub fn new() -> Option<Self> {
        Self::with_layout("btrfs-luks")
    }

    pub fn with_layout(layout: &str) -> Option<Self> {
        let inputs = lab_inputs()?;
        let root = tempfile::tempdir().unwrap();
        for dir in ["home/.ssh", "remotes", "tmp"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let target = Installer::start(&root.path().join("target"));
        let journey = Self { root, target };
        journey.prepare_home();
        journey.prepare_repositories(layout, &inputs);
        Some(journey)
    }

    fn prepare_home(&self) {
        let home = self.home();
        fs::write(
            home.join(".gitconfig"),
            "[user]\n\tname = A. Tester\n\temail = tester@example.org\n\
             [init]\n\tdefaultBranch = main\n",
        )
        .unwrap();
        fs::write(home.join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        fs::write(home.join("password"), format!("{PASSWORD}\n")).unwrap();
    }

    fn prepare_repositories(&self, layout: &str, inputs: &Path) {
        for name in ["nix-config", "nix-secrets"] {
            let bare = self.remote(name);
            git(self.root.path(), &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()]);
        }
        let key = self.target.sshd.user_key.with_extension("pub");
        let mut init = self.command(assert_cmd::cargo::cargo_bin!("landfall"));
        init.arg("init").arg(self.root.path().join("src"));
        init.args(["--yes", "--host", HOST, "--user", USER, "--layout", layout]);
        init.args(["--disk", DEVICE, "--ssh-key"]).arg(key);
        init.arg("--remote").arg(self.remote("nix-config"));
        init.arg("--secrets-remote").arg(self.remote("nix-secrets"));
        init.arg("--password-file").arg(self.home().join("password"));
        run(&mut init).succeeds();
        self.git(&self.secrets(), &["push", "-q", "-u", "origin", "main"]);
        self.lock("", inputs, &["nixpkgs", "disko", "sops-nix"]);
        self.lock("?dir=nixos-installer", inputs, &["nixpkgs", "disko"]);
        self.commit_config("Lock the inputs");
        self.git(&self.config(), &["push", "-q", "-u", "origin", "main"]);
    }

    fn lock(&self, dir: &str, inputs: &Path, names: &[&str]) {
        let mut nix = self.command("nix");
        nix.args(["flake", "lock", &format!("git+file://{}{dir}", self.config().display())]);
        for name in names {
            let input = format!("path:{}", inputs.join(name).display());
            nix.args(["--override-input", name, &input]);
        }
        run(&mut nix).succeeds();
    }

    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    pub fn config(&self) -> PathBuf {
        self.root.path().join("src/nix-config")
    }

    pub fn secrets(&self) -> PathBuf {
        self.root.path().join("src/nix-secrets")
    }

    pub fn remote(&self, name: &str) -> PathBuf {
        self.root.path().join("remotes").join(format!("{name}.git"))
    }

    /// The operator's age identity.
    pub fn operator_key(&self) -> PathBuf {
        self.home().join(".config/sops/age/keys.txt")
    }

    pub fn host_secrets(&self) -> PathBuf {
        self.secrets().join(format!("sops/{HOST}.yaml"))
    }

    pub fn hardware_file(&self) -> PathBuf {
        self.config().join(format!("hosts/nixos/{HOST}/hardware-configuration.nix"))
    }

    /// Where landfall keeps what it remembers.
    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/landfall")
    }

    /// The folder of the current run.
    pub fn run_dir(&self) -> PathBuf {
        fs::canonicalize(self.state().join(HOST).join("current")).unwrap()
    }

    /// A process that sees this home, the lab's nix, and nothing else of the caller's
    /// environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let kept = |name: &str| name.starts_with("NIX_") || name == "LANDFALL_LAB_CACHE";
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| kept(name)))
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home())
            .env("TMPDIR", self.root.path().join("tmp"))
            .current_dir(self.root.path());
        command
    }

    pub fn landfall(&self) -> Command {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("landfall"));
        command.arg("-C").arg(self.config());
        command
    }

    /// The arguments that a complete, unattended run has, after `command`.
    pub fn args(&self, command: &str) -> Vec<String> {
        let target = format!("root@127.0.0.1:{}", self.target.sshd.port);
        let key = self.target.sshd.user_key.display().to_string();
        let fingerprint = self.target.sshd.host_key.fingerprint();
        let passphrase = self.home().join("passphrase").display().to_string();
        let words = [
            command,
            HOST,
            &target,
            "-i",
            &key,
            "--yes",
            "--erase",
            SERIAL,
            "--installer-fingerprint",
            &fingerprint,
            "--luks-passphrase-file",
            &passphrase,
        ];
        words.map(ToOwned::to_owned).into()
    }

    /// `landfall check`, complete; `edit` takes words away or adds some.
    pub fn check_with(&self, edit: impl FnOnce(&mut Vec<String>)) -> Ran {
        let mut args = self.args("check");
        edit(&mut args);
        run(self.landfall().args(args))
    }

    pub fn check(&self) -> Ran {
        self.check_with(|_| ())
    }

    /// `landfall bootstrap`, complete, up to the last step before the disks.
    pub fn bootstrap(&self) -> Command {
        let mut command = self.landfall();
        command.args(self.args("bootstrap")).args(["--until", "build"]);
        command
    }

    /// The steps by their names, as `landfall status --json` has them.
    pub fn steps(&self) -> BTreeMap<String, Value> {
        let ran = run(self.landfall().args(["status", HOST, "--json"]));
        steps_of(&ran.succeeds().stdout)
    }

    pub fn git(&self, dir: &Path, args: &[&str]) -> String {
        let mut command = self.command("git");
        run(command.arg("-C").arg(dir).args(args)).succeeds().stdout.trim().to_owned()
    }

    pub fn commit_config(&self, message: &str) {
        self.git(&self.config(), &["add", "--all"]);
        self.git(&self.config(), &["commit", "-q", "-m", message]);
    }

    /// Another person's clone of a repository.
    pub fn others(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join("others").join(name);
        if !dir.exists() {
            let (from, to) = (self.remote(name), dir.display().to_string());
            self.git(self.root.path(), &["clone", "-q", from.to_str().unwrap(), &to]);
        }
        dir
    }

    /// Another person's commit on a remote, which writes one file.
    pub fn somebody_pushes(&self, name: &str, file: &str, text: &str) {
        let dir = self.others(name);
        self.git(&dir, &["pull", "-q", "--ff-only"]);
        fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
        fs::write(dir.join(file), text).unwrap();
        self.git(&dir, &["add", "--all"]);
        self.git(&dir, &["commit", "-q", "-m", "Theirs"]);
        self.git(&dir, &["push", "-q"]);
    }

    /// The branch `main` of a remote.
    pub fn remote_main(&self, name: &str) -> String {
        self.git(&self.remote(name), &["rev-parse", "main"])
    }

    /// A hook of a repository's checkout; `body` is a shell script.
    pub fn hook(&self, dir: &Path, name: &str, body: &str) {
        let hooks = dir.join(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        let text = format!("#!/bin/sh\nunset $(git rev-parse --local-env-vars)\n{body}\n");
        fs::write(hooks.join(name), text).unwrap();
        fs::set_permissions(hooks.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The target as it is once the current run has installed and booted the full
    /// configuration there: it answers with the run's key, and the journal says so.
    #[must_use]
    pub fn installed(self) -> Self {
        let full = self.steps()["build"]["evidence"]["facts"]["full"].as_str().unwrap().to_owned();
        let mut journal = RunJournal::open(&self.run_dir().join("journal.jsonl")).unwrap();
        let steps = [StepId::Disks, StepId::Copy, StepId::Install, StepId::Reboot, StepId::Login];
        for step in steps.into_iter().chain([StepId::Repos, StepId::Rebuild]) {
            let evidence = Evidence::new("as the test has it").with("system", &full);
            journal.append(Entry::Finished { step, evidence, seconds: 0.0 }).unwrap();
        }
        // The machine's own copy, which is no matter of what becomes of the run's.
        let key = self.root.path().join("installed_host_key");
        let kept = self.run_dir().join("keys/ssh_host_ed25519_key");
        fs::copy(&kept, &key).unwrap();
        fs::copy(kept.with_extension("pub"), key.with_extension("pub")).unwrap();
        let Self { root, target } = self;
        Self { target: target.installed(&key), root }
    }

    /// A run of `landfall bootstrap` with these steps alone.
    pub fn only(&self, steps: &[&str]) -> Command {
        let mut args = self.args("bootstrap");
        args.retain(|word| word != "--installer-fingerprint" && !word.starts_with("SHA256:"));
        let mut command = self.landfall();
        command.args(args).arg("--only").args(steps);
        command
    }

    /// Everything that a command without effect leaves as it is.
    pub fn seen(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        for (name, dir) in [("nix-config", self.config()), ("nix-secrets", self.secrets())] {
            let mut note = |what: &str, text: String| seen.insert(format!("{name} {what}"), text);
            note("head", self.git(&dir, &["rev-parse", "HEAD"]));
            note("status", self.git(&dir, &["status", "--porcelain"]));
            note("remote", self.git(&self.remote(name), &["for-each-ref"]));
            for file in files_below(&dir).into_iter().filter(|file| !in_git(file)) {
                note(&file.display().to_string(), fs::read_to_string(&file).unwrap());
            }
        }
        seen
    }

    /// Requires that `check` and an unattended `bootstrap` with these arguments end
    /// with this exit code and these words, and that they leave everything as it was.
    #[track_caller]
    pub fn refuses(&self, code: i32, words: &[&str], edit: impl Fn(&mut Vec<String>)) {
        self.check_refuses(code, words, &edit);
        self.refuses_as("bootstrap", code, words, &edit);
    }

    /// [`Journey::refuses`] by `check` alone, where one of several alike has shown both.
    #[track_caller]
    pub fn check_refuses(&self, code: i32, words: &[&str], edit: impl Fn(&mut Vec<String>)) {
        let _ = fs::remove_dir_all(self.state());
        self.refuses_as("check", code, words, &edit);
        let kept = if self.state().exists() { files_below(&self.state()) } else { Vec::new() };
        assert_eq!(kept, [] as [PathBuf; 0], "check leaves a run");
    }

    #[track_caller]
    fn refuses_as(
        &self,
        command: &str,
        code: i32,
        words: &[&str],
        edit: &impl Fn(&mut Vec<String>),
    ) {
        let before = self.seen();
        let mut args = self.args(command);
        edit(&mut args);
        run(self.landfall().args(args)).ends(code, words);
        assert_eq!(self.seen(), before, "{command} changed something");
        let key = |file: &PathBuf| file.ends_with("ssh_host_ed25519_key");
        assert!(!files_below(&self.home()).iter().any(key), "{command} has made a key");
    }

    /// Opens the host's secrets with real sops and nothing but this identity.
    pub fn sops(&self, identity: &Path) -> Ran {
        let mut sops = self.command("sops");
        sops.env("HOME", "/nonexistent").env("SOPS_AGE_KEY_FILE", identity);
        run(sops.args(["decrypt", "--output-type", "json"]).arg(self.host_secrets()))
    }
}

pub fn steps_of(json: &str) -> BTreeMap<String, Value> {
    let value: Value = serde_json::from_str(json).unwrap();
    let steps = value["steps"].as_array().unwrap().clone();
    steps.into_iter().map(|step| (step["id"].as_str().unwrap().to_owned(), step)).collect()
}

/// The lab's inputs, when everything is there that a journey needs.
fn lab_inputs() -> Option<PathBuf> {
    if !["nix", "sops", "git", "unshare"].into_iter().all(have) {
        return None;
    }
    if !sshd::is_root() {
        skipped("the sandbox of the target needs root");
        return None;
    }
    let inputs =
        std::env::var_os("LANDFALL_LAB_CACHE").map(|dir| PathBuf::from(dir).join("inputs"));
    let inputs = inputs.filter(|inputs| inputs.join("sops-nix/flake.nix").is_file());
    if inputs.is_none() {
        skipped("the lab's inputs are missing: cargo xtask lab setup");
    }
    inputs
}

/// Runs to the end, without a terminal.
pub fn run(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Ran { code: output.status.code(), stdout, text }
}

/// A word for a POSIX shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

fn in_git(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == ".git")
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
