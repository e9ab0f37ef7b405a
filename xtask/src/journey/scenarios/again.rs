//! Second runs, and what comes after the installation: crashes at every boundary of every
//! step, an installer that is started anew, a mended configuration, a live switch, syncs.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::journey::course::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::proof::Remote;
use crate::journey::repos::{CONFIG, HOST, Repos, SECRETS};
use crate::journey::scenario::{Act, Scenario, words};
use crate::run::{tail, wait_until};

/// The steps that change something; the others are done as soon as they are looked at.
const BEFORE_THE_DISKS: [&str; 6] = ["check", "identity", "secrets", "lock", "hardware", "build"];
const AFTER_THE_DISKS: [&str; 6] = ["copy", "install", "reboot", "repos", "rebuild", "publish"];
const REBOOT_DEADLINE: Duration = Duration::from_secs(300);
const LAYOUT_FILE: &str = "hosts/common/disks/btrfs-luks-disk.nix";
const HOST_FILE: &str = "hosts/nixos/guppy/default.nix";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "crashes-around-the-work",
            shows: "a crash before each step and after its work; then a run that changes nothing",
            acts: vec![Act::Do(crashes_around_the_work), Act::Bootstrap, Act::Do(changes_nothing)],
            ..Scenario::staged()
        },
        Scenario {
            name: "crashes-around-the-record",
            shows: "a crash after each intention and each proof; the installer reboots in between",
            acts: vec![Act::Do(crashes_around_the_record), Act::Bootstrap],
            ..Scenario::staged()
        },
        Scenario {
            name: "switch-mend-sync",
            shows: "a live switch that cuts its connection off, a mended unit, then syncs",
            edits: vec![failing_unit, switch_that_cuts_off],
            flags: words("--activate switch --require-unit web.service"),
            acts: vec![
                Act::Do(fails_at_the_unit),
                Act::Do(goes_on_when_it_is_mended),
                Act::Do(syncs),
            ],
            ..Scenario::staged()
        },
    ]
}

/// What a run of landfall left.
pub(super) struct Ran {
    code: Option<i32>,
    pub text: String,
}

pub(super) fn run(command: &mut Command) -> Result<Ran> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Ran { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() })
}

impl Ran {
    pub fn ends(&self, code: Option<i32>, words: &[&str]) -> Result<()> {
        ensure!(self.code == code, "it ended with {:?}, not {code:?}:\n{}", self.code, self.text);
        // Lines are wrapped at the width of a terminal.
        let line = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            ensure!(line.contains(word), "it does not say {word:?}:\n{}", self.text);
        }
        Ok(())
    }
}

/// Ends landfall at this boundary as a crash would.
fn crash(journey: &Journey, fingerprint: &str, step: &str, moment: &str) -> Result<()> {
    let point = format!("{step}:{moment}");
    let mut landfall = journey.bootstrap_command_expecting(fingerprint)?;
    // Whatever goes wrong, it does not run past the step.
    landfall.args(["--until", step]).env("LANDFALL_ABORT_AT", &point);
    let began = Instant::now();
    let ran = run(&mut landfall)?;
    ran.ends(None, &[&format!("aborting at {point}")]).with_context(|| point.clone())?;
    println!("{:>6.1} s  crashed at {point}", began.elapsed().as_secs_f64());
    Ok(())
}

fn crashes_around_the_work(journey: &Journey) -> Result<()> {
    let fingerprint = journey.installer.fingerprint()?;
    for step in BEFORE_THE_DISKS.iter().chain(&["disks"]).chain(&AFTER_THE_DISKS) {
        for moment in ["before", "applied"] {
            crash(journey, &fingerprint, step, moment)?;
        }
    }
    Ok(())
}

fn crashes_around_the_record(journey: &Journey) -> Result<()> {
    let first = journey.installer.fingerprint()?;
    for step in BEFORE_THE_DISKS.iter().chain(&["disks"]) {
        for moment in ["started", "finished"] {
            crash(journey, &first, step, moment)?;
        }
    }
    let formatted = luks_uuid(journey, &journey.installer)?;
    let second = installer_reboots(journey, &first)?;
    let old = run(&mut journey.bootstrap_command_expecting(&first)?)?;
    old.ends(Some(3), &["another host key", &first, &second])?;
    let mut mounts = journey.bootstrap_command_expecting(&second)?;
    run(mounts.args(["--until", "disks"]))?
        .ends(Some(0), &["disks was done, and is open again"])?;
    let installer = Remote::scan(&journey.operator, journey.target.port, "installer-again")?;
    let mounted = luks_uuid(journey, &installer)?;
    ensure!(mounted == formatted, "the disk was formatted again: {formatted}, now {mounted}");
    println!("the disk was mounted again, and not formatted: LUKS {mounted}");
    layout_changes(journey, &second, &installer, &formatted)?;
    for step in AFTER_THE_DISKS {
        for moment in ["started", "finished"] {
            crash(journey, &second, step, moment)?;
        }
    }
    Ok(())
}

/// Another script of disko than the one that formatted the disk: landfall asks.
fn layout_changes(
    journey: &Journey,
    fingerprint: &str,
    installer: &Remote,
    formatted: &str,
) -> Result<()> {
    journey.repos.replace(LAYOUT_FILE, "\"compress=zstd\"", "\"compress=zstd:3\"")?;
    journey.operator.git(&journey.repos.config, &["commit", "-q", "-a", "-m", "Compress more"])?;
    let until_disks = |more: &[&str]| {
        let mut landfall = journey.bootstrap_command_expecting(fingerprint)?;
        run(landfall.args(["--until", "disks"]).args(more))
    };
    let asked = ["build was done, and is open again", "--changed-layout keep|format"];
    until_disks(&[])?.ends(Some(3), &asked)?;
    until_disks(&["--changed-layout", "keep"])?.ends(Some(0), &["formatted, mounted at /mnt"])?;
    let kept = luks_uuid(journey, installer)?;
    ensure!(kept == formatted, "the disk was formatted again: {formatted}, now {kept}");
    until_disks(&[])?.ends(Some(0), &[])?;
    println!("the layout changed, which was asked about, and the disk was kept");
    Ok(())
}

fn luks_uuid(journey: &Journey, installer: &Remote) -> Result<String> {
    let look = "blkid -t TYPE=crypto_LUKS -s UUID -o value";
    installer.run(&journey.operator, "root", look)
}

/// Reboots the installer; gives the fingerprint of its new host key, as its console shows it.
fn installer_reboots(journey: &Journey, first: &str) -> Result<String> {
    // The answer is lost with the machine.
    let _ = journey.installer.run(&journey.operator, "root", "systemctl reboot");
    let shown = Regex::new(r"256 (SHA256:[A-Za-z0-9+/]{43}) ")?;
    let mut second = None;
    wait_until(REBOOT_DEADLINE, || {
        let log = std::fs::read(journey.target.console_log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let fingerprints = shown.captures_iter(&log).map(|found| found[1].to_string());
        second = fingerprints.last().filter(|last| last != first);
        second.is_some()
    })?;
    let second = second.context("the console shows no second host key")?;
    let answering = Remote::scan(&journey.operator, journey.target.port, "installer-again")?;
    let answering = answering.fingerprint()?;
    ensure!(answering == second, "{answering} answers, but the console shows {second}");
    println!("the installer was started anew, with the host key {second}");
    Ok(second)
}

/// All that a run could change.
fn seen(journey: &Journey) -> Result<String> {
    let look = "cat /proc/sys/kernel/random/boot_id; readlink /nix/var/nix/profiles/system";
    let mut seen = vec![journey.installed()?.run(&journey.operator, USER, look)?];
    for (name, checkout) in [(CONFIG, &journey.repos.config), (SECRETS, &journey.repos.secrets)] {
        seen.push(journey.operator.git(checkout, &["rev-parse", "HEAD"])?);
        seen.push(journey.operator.git(checkout, &["status", "--porcelain"])?);
        seen.push(journey.forge.head(name)?);
    }
    Ok(seen.join("\n"))
}

/// On a finished host a run changes nothing, and says so.
fn changes_nothing(journey: &Journey) -> Result<()> {
    let before = seen(journey)?;
    let began = Instant::now();
    let ran = run(&mut journey.bootstrap_command()?)?;
    let seconds = began.elapsed().as_secs_f64();
    ran.ends(Some(0), &["nothing was changed", "guppy is done"])?;
    let after = seen(journey)?;
    ensure!(before == after, "it changed something:\n{before}\n\n{after}");
    println!("a run on the finished host changed nothing, in {seconds:.1} s");
    Ok(())
}

fn failing_unit(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_host(
        "systemd.services.web = {\n    wantedBy = [ \"multi-user.target\" ];\n    \
         serviceConfig = {\n      Type = \"oneshot\";\n      RemainAfterExit = true;\n    };\n    \
         script = \"exit 1\";\n  };",
    )
}

/// While it switches, the network goes down and every process of sshd ends.
fn switch_that_cuts_off(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_host(
        "system.activationScripts.cut-off.text = ''\n    \
         if [ \"$NIXOS_ACTION\" = switch ]; then\n      \
         systemctl restart systemd-networkd.service\n      \
         for session in $(loginctl list-sessions --no-legend | while read -r id _; do echo \"$id\"; done); do\n        \
         loginctl kill-session --signal=KILL \"$session\"\n      done\n      \
         systemctl kill --signal=KILL sshd.service\n      \
         systemctl start sshd.service\n    fi\n  '';",
    )
}

fn fails_at_the_unit(journey: &Journey) -> Result<()> {
    let ran = run(&mut journey.bootstrap_command()?)?;
    println!("{}", tail(&ran.text));
    ran.ends(Some(1), &["required units are not up", "web.service"])?;
    let installed = journey.installed()?;
    let systems = installed.run(
        &journey.operator,
        USER,
        "readlink -f /run/current-system /run/booted-system",
    )?;
    let (current, booted) = systems.split_once('\n').context("two systems")?;
    ensure!(current != booted, "the full system was booted, not switched to: {current}");
    println!("switched from {booted} to {current}, over a connection that was cut off");
    Ok(())
}

fn goes_on_when_it_is_mended(journey: &Journey) -> Result<()> {
    journey.repos.replace(HOST_FILE, "exit 1", "exit 0")?;
    journey.operator.git(&journey.repos.config, &["commit", "-q", "-a", "-m", "Mend the unit"])?;
    let boot = journey.installed()?.boot_id(&journey.operator, USER)?;
    let ran = run(&mut journey.bootstrap_command()?)?;
    ran.ends(Some(3), &["--sudo-password-file"])?;
    let password = journey.operator.secret_file("sudo-password", &journey.known.password)?;
    let mut landfall = journey.bootstrap_command()?;
    let ran = run(landfall.arg("--sudo-password-file").arg(password))?;
    println!("{}", tail(&ran.text));
    ran.ends(Some(0), &["the configuration moved on", "building it anew", "guppy is done"])?;
    let now = journey.installed()?.boot_id(&journey.operator, USER)?;
    ensure!(now == boot, "it was rebooted");
    Ok(())
}

fn syncs(journey: &Journey) -> Result<()> {
    let (operator, installed) = (&journey.operator, journey.installed()?);
    let password = operator.secret_file("sudo-password", &journey.known.password)?;
    let password = ["--sudo-password-file".to_owned(), password.display().to_string()];
    let sync = |more: &[&str]| -> Result<Ran> {
        let mut landfall = journey.landfall()?;
        landfall.args(["sync", HOST, "--yes", "-i"]).arg(operator.ssh_key()).args(more);
        run(&mut landfall)
    };
    let marks = || installed.run(operator, USER, "cat /etc/mark 2>/dev/null || echo none");
    journey.repos.add_to_host("environment.etc.mark.text = \"one\";")?;
    operator.git(&journey.repos.config, &["commit", "-q", "-a", "-m", "One"])?;
    sync(&[])?.ends(Some(0), &["guppy is done"])?;
    ensure!(marks()? == "none", "the repositories alone have changed the system");

    sync(&["--switch"])?.ends(Some(3), &["--sudo-password-file"])?;
    let boot = installed.boot_id(operator, USER)?;
    let switch = ["--switch", &password[0], &password[1]];
    sync(&switch)?.ends(Some(0), &["active", "guppy is done"])?;
    ensure!(marks()? == "one", "the switch has not switched");
    ensure!(installed.boot_id(operator, USER)? == boot, "the switch has rebooted");
    sync(&switch)?.ends(Some(0), &["done already"])?;

    journey.repos.replace(HOST_FILE, "\"one\"", "\"two\"")?;
    operator.git(&journey.repos.config, &["commit", "-q", "-a", "-m", "Two"])?;
    operator.git(&journey.repos.config, &["push", "-q"])?;
    let ran = sync(&["--boot", &password[0], &password[1]])?;
    println!("{}", tail(&ran.text));
    ran.ends(Some(0), &["booted", "guppy is done"])?;
    ensure!(marks()? == "two", "the boot has not brought the new system");
    ensure!(installed.boot_id(operator, USER)? != boot, "it was not rebooted");
    Ok(())
}
