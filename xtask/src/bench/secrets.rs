//! Re-encryption for one more recipient, and verification, beside real sops.
//!
//! Both programs get the same files in a git repository, made by sops; every run starts
//! from a fresh copy of it. landfall checks every value and MAC and syncs what it writes;
//! `sops updatekeys` does neither. The fastest of several runs counts, for both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cache::{Cache, remove};
use crate::checkout;
use crate::lab::sops;
use crate::process::{output, quiet};
use crate::temp_dir::TempDir;

/// How many files are measured at a time, and how often.
struct Size {
    files: usize,
    runs: u32,
}

const SIZES: [Size; 4] = [
    Size { files: 1, runs: 7 },
    Size { files: 10, runs: 7 },
    Size { files: 50, runs: 5 },
    Size { files: GOAL_FILES, runs: 5 },
];
/// The number of files for which there are goals.
const GOAL_FILES: usize = 200;
/// Values of an ordinary file of 7.7 kB, and of one of 5 MB.
const VALUES: usize = 32;
const BIG_VALUES: usize = 26_000;
const BIG_RUNS: u32 = 3;

/// What must be reached: how many times as long as landfall sops takes.
struct Goal {
    what: &'static str,
    times: f64,
}

const GOALS: [Goal; 4] = [
    Goal { what: "re-encryption of 200 files, one sops process", times: 3.0 },
    Goal { what: "re-encryption of 200 files, one sops process per file", times: 20.0 },
    Goal { what: "verification of 200 files, one sops process per file", times: 20.0 },
    Goal { what: "re-encryption of a 5 MB file", times: 5.0 },
];

/// Measures every size, and says whether the goals were reached.
pub(crate) fn run() -> Result<ExitCode> {
    let cache = Cache::open()?;
    sops::ensure(&cache)?;
    quiet(
        Command::new("cargo")
            .args(["build", "--quiet", "--release", "--bin", "landfall"])
            .current_dir(checkout::root()),
    )?;
    let scratch = TempDir::new("bench")?;
    let bench = Bench::new(scratch.path(), &sops::bin(&cache))?;
    println!("{}", heading());
    let mut ratios = Vec::new();
    for size in SIZES {
        let files: Vec<String> = (0..size.files).map(|index| format!("s{index:03}.yaml")).collect();
        bench.make(&files, VALUES)?;
        let measured = bench.measure(&files, size.runs)?;
        println!("{}", measured.line(&size.files.to_string()));
        if size.files == GOAL_FILES {
            ratios = measured.ratios();
        }
    }
    let big = ["big.yaml".to_owned()];
    bench.make(&big, BIG_VALUES)?;
    let size = fs::metadata(bench.path("pristine/big.yaml"))?.len();
    let measured = bench.measure(&big, BIG_RUNS)?;
    println!("{}", measured.line(&format!("1 of {:.1} MB", size as f64 / 1e6)));
    ratios.push(measured.ratios()[0]);
    Ok(judge(&ratios))
}

/// Says for every goal whether it was reached.
fn judge(ratios: &[f64]) -> ExitCode {
    println!();
    let mut reached = true;
    for (Goal { what, times }, ratio) in GOALS.iter().zip(ratios) {
        let met = ratio >= times;
        reached &= met;
        let word = if met { "reached" } else { "MISSED" };
        println!("{what:56} {ratio:6.1}x  (goal {times:.0}x: {word})");
    }
    if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn heading() -> String {
    format!(
        "milliseconds, the fastest of several runs\n\n{:<12} {:^44} {:^32}\n{:<12} {:>10} {:>10} {:>9} {:>12} {:>10} {:>9} {:>10}",
        "",
        "re-encryption (sops updatekeys)",
        "verification (sops decrypt)",
        "files",
        "1 process",
        "1 per file",
        "landfall",
        "ratios",
        "1 per file",
        "landfall",
        "ratio",
    )
}

/// The times of one set of files.
struct Measured {
    one_process: Duration,
    per_file: Duration,
    landfall: Duration,
    decrypt: Duration,
    verify: Duration,
}

impl Measured {
    /// Divides by landfall's time: one sops process, one per file, decryption.
    fn ratios(&self) -> Vec<f64> {
        let times = |sops: Duration, own: Duration| sops.as_secs_f64() / own.as_secs_f64();
        vec![
            times(self.one_process, self.landfall),
            times(self.per_file, self.landfall),
            times(self.decrypt, self.verify),
        ]
    }

    /// Writes a line of the table.
    fn line(&self, files: &str) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let ratios = self.ratios();
        format!(
            "{files:<12} {:>10.1} {:>10.1} {:>9.1} {:>12} {:>10.1} {:>9.1} {:>9.1}x",
            ms(self.one_process),
            ms(self.per_file),
            ms(self.landfall),
            format!("{:.1}x {:.1}x", ratios[0], ratios[1]),
            ms(self.decrypt),
            ms(self.verify),
            ratios[2],
        )
    }
}

/// A home with an identity, and the repository that is copied for every run.
struct Bench {
    dir: PathBuf,
    sops: PathBuf,
    landfall: PathBuf,
    recipients: Vec<String>,
}

impl Bench {
    fn new(dir: &Path, tools: &Path) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| checkout::root().join("target"));
        let mut bench = Self {
            dir: dir.to_owned(),
            sops: tools.join("sops"),
            landfall: target.join("release/landfall"),
            recipients: Vec::new(),
        };
        fs::create_dir_all(bench.path("home/.config/sops/age"))?;
        for name in ["operator", "host", "new"] {
            let key = bench.path(name);
            quiet(
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key),
            )?;
            let identity = bench.path(&format!("{name}.age"));
            let mut convert = Command::new(&bench.landfall);
            convert.args(["keys", "to-age"]).arg(&key).arg("--private-key").arg(&identity);
            bench.recipients.push(output(&mut convert)?.trim().to_owned());
        }
        fs::copy(bench.path("operator.age"), bench.path("home/.config/sops/age/keys.txt"))?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Prepares a command in `repo` that knows this home alone.
    fn command(&self, program: &Path, repo: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path(repo))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("SOPS_DISABLE_VERSION_CHECK", "1");
        command
    }

    /// Writes rules for the first of the recipients.
    fn rules(&self, recipients: usize) -> String {
        let keys: String = self.recipients[..recipients]
            .iter()
            .map(|key| format!("          - {key}\n"))
            .collect();
        format!("creation_rules:\n  - path_regex: .*\n    key_groups:\n      - age:\n{keys}")
    }

    /// Makes the repository `pristine`: files for two recipients under a rule for three.
    fn make(&self, files: &[String], values: usize) -> Result<()> {
        let repo = self.path("pristine");
        remove(&repo)?;
        fs::create_dir(&repo)?;
        fs::write(repo.join(".sops.yaml"), self.rules(2))?;
        for file in files {
            let text: String = (0..values)
                .map(|index| format!("key{index}: {:0<60}\n", format!("value {index} of {file} ")))
                .collect();
            fs::write(repo.join(file), text)?;
            quiet(self.command(&self.sops, "pristine").args(["encrypt", "--in-place"]).arg(file))?;
        }
        fs::write(repo.join(".sops.yaml"), self.rules(3))?;
        let git = |words: &[&str]| quiet(self.command(Path::new("git"), "pristine").args(words));
        git(&["init", "-q"])?;
        git(&["add", "-A"])?;
        git(&["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-q", "-m", "state"])
    }

    /// Measures both programs with these files.
    fn measure(&self, files: &[String], times: u32) -> Result<Measured> {
        let one_process = self.fastest(times, || {
            let mut update = self.command(&self.sops, "repo");
            quiet(update.args(["updatekeys", "--yes"]).args(files))
        })?;
        let per_file = self.fastest(times.min(3), || {
            files.iter().try_for_each(|file| {
                quiet(self.command(&self.sops, "repo").args(["updatekeys", "--yes"]).arg(file))
            })
        })?;
        let landfall = self.fastest(times, || {
            let mut update = self.command(&self.landfall, "repo");
            quiet(update.args(["secrets", "updatekeys", "--yes"]))
        })?;
        self.check(files)?;
        // What landfall left is what both verify.
        let decrypt = fastest(times.min(3), || {
            files.iter().try_for_each(|file| {
                quiet(self.command(&self.sops, "repo").arg("decrypt").arg(file))
            })
        })?;
        let verify = fastest(times, || {
            quiet(self.command(&self.landfall, "repo").args(["secrets", "verify", "--all"]))
        })?;
        Ok(Measured { one_process, per_file, landfall, decrypt, verify })
    }

    /// Takes the fastest of several runs, each from a fresh copy of the repository.
    fn fastest(&self, times: u32, mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
        let mut best = Duration::MAX;
        for _ in 0..times {
            remove(&self.path("repo"))?;
            quiet(Command::new("cp").arg("-a").arg(self.path("pristine")).arg(self.path("repo")))?;
            // Copying changes the times that git's index remembers.
            quiet(self.command(Path::new("git"), "repo").args(["status", "--porcelain"]))?;
            best = best.min(fastest(1, &mut work)?);
        }
        Ok(best)
    }

    /// Fails unless the new recipient alone opens with sops what landfall re-encrypted.
    fn check(&self, files: &[String]) -> Result<()> {
        let last = files.last().context("no file was measured")?;
        let mut open = self.command(&self.sops, "repo");
        quiet(
            open.env("HOME", "/nonexistent")
                .env("SOPS_AGE_KEY_FILE", self.path("new.age"))
                .arg("decrypt")
                .arg(last),
        )?;
        let text = fs::read_to_string(self.path("repo").join(last))?;
        ensure!(self.recipients.iter().all(|key| text.contains(key)), "{last} lacks a recipient");
        Ok(())
    }
}

/// Takes the fastest of several runs.
fn fastest(times: u32, mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}
