//! How a journey goes: the repositories, the machine, the acts, the proof.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::jump::Jump;
use super::operator::Operator;
use super::proof::{Claim, Remote};
use super::report::{self, Step};
use super::repos::{HOST, KnownSecrets, Repos};
use super::scenario::{Act, Begins, Scenario};
use super::scenarios::beside;
use super::target::{Begin, Place, Target};
use crate::cache::Cache;
use crate::forge::Forge;
use crate::lab::foreign;
use crate::run::{output, quiet, tail, wait_until};

/// Below the operator's home: a key that only a customized image lets in.
pub const GUEST_KEY: &str = ".ssh/guest";

/// The Wi-Fi network of a customized image; both texts need care in a keyfile.
pub const WIFI: &str = "Café; #1";
pub const WIFI_PASSPHRASE: &str = " it's \"$HOME\"; a\\b#c=d ";

/// A removable drive is larger than what is written to it.
const STICK_BYTES: u64 = 4 << 30;

/// How far into a step a kill comes.
const INTO_THE_STEP: Duration = Duration::from_secs(5);
const STEP_DEADLINE: Duration = Duration::from_secs(400);
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// All that a journey has to do with.
pub struct Journey {
    pub scenario: Scenario,
    pub operator: Operator,
    pub forge: Forge,
    pub repos: Repos,
    pub known: KnownSecrets,
    pub target: Target,
    jump: Option<Jump>,
    /// The installer, under the key that the console shows.
    pub installer: Remote,
    pub installer_boot_id: String,
    installed: OnceCell<Remote>,
    pub start: Instant,
}

/// What a journey that came to its end has shown.
pub struct Outcome {
    pub steps: Vec<Step>,
    pub claims: Vec<Claim>,
    /// What the acts took, seconds.
    pub seconds: f64,
}

impl Outcome {
    /// How many claims do not hold.
    pub fn failed(&self) -> usize {
        self.claims.iter().filter(|claim| claim.found.is_err()).count()
    }
}

/// Makes the journey in the folder `dir`.
pub fn make(cache: &Cache, dir: &Path, scenario: &Scenario, keep: bool) -> Result<Outcome> {
    let journey = prepare(cache, dir, scenario)?;
    let seconds = journey.acts()?;
    let claims = scenario.holds.iter().map(|proof| proof.of(&journey)).collect();
    let outcome = Outcome { steps: journey.steps()?, claims, seconds };
    report::print(&journey, &outcome);
    if keep {
        report::keep(&journey);
    }
    Ok(outcome)
}

/// Makes the acts of a journey in the folder `dir`, and gives what they took, seconds.
pub fn time(cache: &Cache, dir: &Path, scenario: &Scenario) -> Result<f64> {
    prepare(cache, dir, scenario)?.acts()
}

/// Everything up to an installer that answers.
fn prepare(cache: &Cache, dir: &Path, scenario: &Scenario) -> Result<Journey> {
    let start = Instant::now();
    let operator = Operator::new(&dir.join("home"))?;
    let forge = Forge::start(&dir.join("forge"), &operator.public_key()?)?;
    operator.know(&forge)?;
    let known = KnownSecrets::draw()?;
    let repos = said("repositories", start, || {
        let repos = Repos::init(&operator, &forge, &known, scenario)?;
        repos.set_sample(&operator, &known.sample)?;
        for edit in &scenario.edits {
            edit(&repos, &operator)?;
        }
        repos.publish(cache, &operator).map(|()| repos)
    })?;
    let begin = match scenario.begins {
        Begins::Installer => Begin::Image(said("installer image", start, || {
            let image = repos.installer_image(&operator)?;
            let image = match scenario.customized {
                true => customize(&operator, &repos, &image)?,
                false => image,
            };
            if scenario.on_stick { flash(&operator, &image) } else { Ok(image) }
        })?),
        Begins::Debian => {
            Begin::System { disk: foreign::image(cache), root_key: operator.public_key()? }
        }
    };
    let way = &scenario.way;
    let jump = way.jump.then(|| Jump::start(&dir.join("jump"), &operator)).transpose()?;
    let second_port = way.moves_to.or(way.unlocked_at);
    let place = Place { second_port, medium_first: scenario.medium_first };
    let target = said("machine on", start, || {
        Target::start(cache, dir, &begin, scenario, &place, &known.passphrase)
    })?;
    let shown = said("machine up", start, || target.installer_fingerprint())?;
    let installer = Remote::scan(&operator, target.port, "installer")?;
    let answering = installer.fingerprint()?;
    ensure!(answering == shown, "{answering} answers, but the console shows {shown}");
    let installer_boot_id = installer.boot_id(&operator, way.keyed)?;
    target.attend()?;
    let installed = OnceCell::new();
    Ok(Journey {
        scenario: scenario.clone(),
        operator,
        forge,
        repos,
        known,
        target,
        jump,
        installer,
        installer_boot_id,
        installed,
        start,
    })
}

/// A copy of the image with a host key of its own, the key of a guest who may log in, and
/// a Wi-Fi network.
fn customize(operator: &Operator, repos: &Repos, image: &Path) -> Result<PathBuf> {
    let (copy, guest) = (operator.path("stick.iso"), operator.path(GUEST_KEY));
    let mut keygen = Command::new("ssh-keygen");
    quiet(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "guest", "-f"]).arg(&guest))?;
    let passphrase = operator.secret_file("wifi-passphrase", WIFI_PASSPHRASE)?;
    let mut landfall = operator.landfall()?;
    landfall.arg("-C").arg(&repos.config).args(["iso", "build", "--customize"]);
    landfall.arg("--image").arg(image).arg("-o").arg(&copy);
    landfall.args(["--wifi", WIFI, "--wifi-passphrase-file"]).arg(passphrase);
    quiet(landfall.arg("--ssh-key").arg(guest.with_extension("pub")))?;
    Ok(copy)
}

/// A removable drive that `iso flash` has written the image to.
fn flash(operator: &Operator, image: &Path) -> Result<PathBuf> {
    let drive = operator.path("stick.img");
    std::fs::File::create_new(&drive)?.set_len(STICK_BYTES)?;
    let device = output(Command::new("losetup").args(["--find", "--show"]).arg(&drive))
        .context("the journey needs a loop device, which root can make")?;
    let mut landfall = operator.landfall()?;
    landfall.args(["iso", "flash", device.trim(), "--yes", "--image"]).arg(image);
    let written = quiet(&mut landfall);
    quiet(Command::new("losetup").arg("--detach").arg(device.trim()))?;
    written.map(|()| drive)
}

/// Prints when a part of the preparation is done.
fn said<T>(what: &str, start: Instant, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let made = part().with_context(|| what.to_string())?;
    println!("{:>6.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(made)
}

impl Journey {
    /// All acts in turn; gives what they took, seconds.
    fn acts(&self) -> Result<f64> {
        let began = Instant::now();
        for act in &self.scenario.acts {
            if let Err(error) = self.act(act) {
                self.say_what_is_on_the_disk();
                return Err(error);
            }
        }
        Ok(began.elapsed().as_secs_f64())
    }

    fn act(&self, act: &Act) -> Result<()> {
        match act {
            Act::Bootstrap => self.bootstrap(),
            Act::KilledDuring(step) => self.bootstrap_killed_during(step),
            Act::NixosAnywhere(program) => beside::nixos_anywhere(self, program),
            Act::Do(thing) => thing(self),
        }
    }

    /// Runs landfall as the operator would, to its end.
    pub fn bootstrap(&self) -> Result<()> {
        let mut landfall = self.bootstrap_command()?.spawn()?;
        let waited = wait_until(BOOTSTRAP_DEADLINE, || {
            self.target.is_stuck() || !matches!(landfall.try_wait(), Ok(None))
        });
        if matches!(landfall.try_wait(), Ok(None)) {
            landfall.kill()?;
            landfall.wait()?;
            waited?;
            let text =
                String::from_utf8_lossy(&std::fs::read(self.target.console_log())?).into_owned();
            bail!("the machine does not start; its console ends with:\n{}", tail(&text));
        }
        let status = landfall.wait()?;
        ensure!(status.success(), "landfall bootstrap ended with {status}");
        Ok(())
    }

    fn bootstrap_killed_during(&self, step: &str) -> Result<()> {
        let mut landfall = self.bootstrap_command()?.spawn()?;
        let reached = self.wait_into(&mut landfall, step);
        let _ = landfall.kill();
        landfall.wait()?;
        reached?;
        println!("killed landfall in the middle of {step}");
        Ok(())
    }

    /// `landfall bootstrap` with everything that an unattended run needs.
    pub fn bootstrap_command(&self) -> Result<Command> {
        let shown = self.installer.fingerprint()?;
        self.bootstrap_command_expecting(self.scenario.expects.unwrap_or(&shown))
    }

    /// The same, with the installer expected under this host key.
    pub fn bootstrap_command_expecting(&self, expected: &str) -> Result<Command> {
        let passphrase = self.operator.secret_file("passphrase", &self.known.passphrase)?;
        let mut landfall = self.landfall()?;
        let way = &self.scenario.way;
        if let Some(password) = way.password {
            landfall.env("SSHPASS", password);
        }
        landfall
            .args(["bootstrap", HOST, &format!("{}@127.0.0.1", way.user)])
            .args(["-p", &self.target.port.to_string()])
            .args(way.password.map(|_| "--env-password"))
            .args(self.jump.iter().flat_map(|jump| ["--ssh-option", &jump.option]))
            .arg("-i")
            .arg(self.operator.ssh_key())
            .args(["--yes", "--luks-passphrase-file"])
            .arg(passphrase)
            .stdin(Stdio::null());
        if let Some(password) = way.sudo {
            let file = self.operator.secret_file("installer-password", password)?;
            landfall.args(["--sudo-password-file", &format!("{}={}", way.user, file.display())]);
        }
        if !self.scenario.customized {
            landfall.args(["--installer-fingerprint", expected]);
        }
        for disk in &self.scenario.disks {
            landfall.args(["--erase", disk.serial.as_deref().context("a disk without serial")?]);
        }
        landfall.args(&self.scenario.flags);
        Ok(landfall)
    }

    /// `landfall` in the operator's configuration.
    pub fn landfall(&self) -> Result<Command> {
        let mut landfall = self.operator.landfall()?;
        landfall.arg("-C").arg(&self.repos.config);
        Ok(landfall)
    }

    /// Waits until a step has been running for a while.
    fn wait_into(&self, landfall: &mut Child, step: &str) -> Result<()> {
        let mut since = None;
        let mut ended = false;
        let reached = wait_until(STEP_DEADLINE, || {
            std::thread::sleep(Duration::from_millis(300));
            ended = matches!(landfall.try_wait(), Ok(Some(_)));
            if ended || !self.step_runs(step) {
                return ended;
            }
            since.get_or_insert_with(Instant::now).elapsed() > INTO_THE_STEP
        })?;
        ensure!(!ended, "landfall ended before the middle of {step}");
        ensure!(reached, "{step} did not begin within {STEP_DEADLINE:?}");
        Ok(())
    }

    fn step_runs(&self, step: &str) -> bool {
        let steps = self.steps().unwrap_or_default();
        steps.iter().any(|seen| seen.id == step && seen.state == "running")
    }

    /// The steps of the run as `landfall status --json` tells them.
    pub fn steps(&self) -> Result<Vec<Step>> {
        let json = crate::run::output(self.landfall()?.args(["status", HOST, "--json"]))?;
        report::steps(&json)
    }

    /// A fact that a step of the run has proven.
    pub fn evidence(&self, step: &str, fact: &str) -> Result<String> {
        let steps = self.steps()?;
        let seen =
            steps.iter().find(|seen| seen.id == step).and_then(|seen| seen.evidence.as_ref());
        let value = seen.and_then(|evidence| evidence.facts.get(fact)).cloned();
        value.with_context(|| format!("the step {step} tells no {fact}"))
    }

    /// The installed system, under the key that answers at the first call.
    pub fn installed(&self) -> Result<&Remote> {
        if let Some(remote) = self.installed.get() {
            return Ok(remote);
        }
        let port = self.scenario.way.moves_to.unwrap_or(self.target.port);
        let remote = Remote::scan(&self.operator, port, "installed")?;
        Ok(self.installed.get_or_init(|| remote))
    }

    /// After a failure: whether the disks were touched, if the installer can still be asked.
    fn say_what_is_on_the_disk(&self) {
        let look = "wipefs --noheadings /dev/disk/by-id/*landfall-*";
        match self.installer.run(&self.operator, self.scenario.way.keyed, look) {
            Ok(found) if found.is_empty() => println!("the disk is untouched"),
            Ok(found) => println!("on the disk:\n{found}"),
            Err(error) => println!("what is on the disk cannot be asked: {error:#}"),
        }
    }
}
