//! Runs that follow another one: after a crash at each boundary of each step, after a restart
//! of the installer, with a fixed configuration, on a finished host, by a live switch, by sync.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::journey::command_result::CommandResult;
use crate::journey::fixture::Journey;
use crate::journey::operator::Operator;
use crate::journey::repos::{HOST, HOST_MODULE, Repos};
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{Setup, words};
use crate::journey::ssh_host::SshHost;
use crate::process::{tail, wait_until};

/// The steps that change something; the others are done as soon as they are looked at.
const UP_TO_THE_DISKS: [&str; 7] =
    ["check", "identity", "secrets", "lock", "hardware", "build", "disks"];
const AFTER_THE_DISKS: [&str; 6] = ["copy", "install", "reboot", "repos", "rebuild", "publish"];
const REBOOT_DEADLINE: Duration = Duration::from_secs(300);
const LAYOUT_FILE: &str = "hosts/common/disks/btrfs-luks-disk.nix";

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "crashes-around-the-work",
            shows: "a crash before each step and after its work; then a run that changes nothing",
            actions: vec![
                Action::Do(crash_around_the_work),
                Action::Bootstrap,
                Action::Do(change_nothing),
            ],
            ..Scenario::staged()
        },
        Scenario {
            name: "crashes-around-the-record",
            shows: "a crash after each intention and each proof; the installer reboots in between",
            actions: vec![Action::Do(crash_around_the_record), Action::Bootstrap],
            ..Scenario::staged()
        },
        Scenario {
            name: "switch-mend-sync",
            shows: "a live switch that cuts its connection off, a mended unit, then syncs",
            setup: Setup {
                edits: vec![add_failing_unit, cut_off_while_switching],
                flags: words("--activate switch --require-unit web.service"),
                ..Setup::staged()
            },
            actions: vec![
                Action::Do(fail_at_the_unit),
                Action::Do(continue_with_fixed_unit),
                Action::Do(sync),
            ],
            ..Scenario::staged()
        },
    ]
}

/// Crashes landfall at each of these moments of each step.
fn crash_at_all<'a>(
    journey: &Journey,
    fingerprint: &str,
    steps: impl IntoIterator<Item = &'a &'a str>,
    moments: [&str; 2],
) -> Result<()> {
    for step in steps {
        for moment in moments {
            crash(journey, fingerprint, step, moment)?;
        }
    }
    Ok(())
}

/// Ends landfall at this boundary as a crash would.
fn crash(journey: &Journey, fingerprint: &str, step: &str, moment: &str) -> Result<()> {
    let point = format!("{step}:{moment}");
    let mut landfall = journey.bootstrap_command_expecting(fingerprint)?;
    // Whatever goes wrong, it does not run past the step.
    landfall.args(["--until", step]).env("LANDFALL_ABORT_AT", &point);
    let began = Instant::now();
    let crashed = CommandResult::of(&mut landfall)?;
    crashed.must_be(None, &[&format!("aborting at {point}")]).with_context(|| point.clone())?;
    println!("{:>6.1} s  crashed at {point}", began.elapsed().as_secs_f64());
    Ok(())
}

fn crash_around_the_work(journey: &Journey) -> Result<()> {
    let fingerprint = journey.installer.fingerprint()?;
    let steps = UP_TO_THE_DISKS.iter().chain(&AFTER_THE_DISKS);
    crash_at_all(journey, &fingerprint, steps, ["before", "applied"])
}

/// Crashes before and after what the journal records; the installer reboots once the disk is
/// formatted, and then the layout changes.
fn crash_around_the_record(journey: &Journey) -> Result<()> {
    let first = journey.installer.fingerprint()?;
    crash_at_all(journey, &first, &UP_TO_THE_DISKS, ["started", "finished"])?;
    let formatted = luks_uuid(journey, &journey.installer)?;
    let second = reboot_installer(journey, &first)?;
    let old = CommandResult::of(&mut journey.bootstrap_command_expecting(&first)?)?;
    old.must_be(Some(3), &["another host key", &first, &second])?;
    mount_again(journey, &second, &formatted)?;
    change_layout(journey, &second, &formatted)?;
    crash_at_all(journey, &second, &AFTER_THE_DISKS, ["started", "finished"])
}

/// Runs landfall up to the disks, with further flags.
fn bootstrap_until_disks(
    journey: &Journey,
    fingerprint: &str,
    flags: &[&str],
) -> Result<CommandResult> {
    let mut landfall = journey.bootstrap_command_expecting(fingerprint)?;
    CommandResult::of(landfall.args(["--until", "disks"]).args(flags))
}

/// Lets landfall mount the disk that it has formatted before the installer was rebooted.
fn mount_again(journey: &Journey, fingerprint: &str, formatted: &str) -> Result<()> {
    let mounts = bootstrap_until_disks(journey, fingerprint, &[])?;
    mounts.must_be(Some(0), &["disks was done, and is open again"])?;
    must_be_formatted_once(journey, formatted)?;
    println!("the disk was mounted again, and not formatted: LUKS {formatted}");
    Ok(())
}

/// Changes the script of disko after it has formatted the disk: landfall asks, and is told to
/// keep what is there.
fn change_layout(journey: &Journey, fingerprint: &str, formatted: &str) -> Result<()> {
    journey.repos.replace(LAYOUT_FILE, "\"compress=zstd\"", "\"compress=zstd:3\"")?;
    journey.commit_config("Compress more")?;
    let asked = ["build was done, and is open again", "--changed-layout keep|format"];
    bootstrap_until_disks(journey, fingerprint, &[])?.must_be(Some(3), &asked)?;
    let keep = bootstrap_until_disks(journey, fingerprint, &["--changed-layout", "keep"])?;
    keep.must_be(Some(0), &["formatted, mounted at /mnt"])?;
    must_be_formatted_once(journey, formatted)?;
    bootstrap_until_disks(journey, fingerprint, &[])?.must_be(Some(0), &[])?;
    println!("the layout changed, which was asked about, and the disk was kept");
    Ok(())
}

/// Fails where the disk's LUKS volume is another one than that which was formatted.
fn must_be_formatted_once(journey: &Journey, formatted: &str) -> Result<()> {
    let installer = SshHost::scan(&journey.operator, journey.target.port, "installer-again")?;
    let now = luks_uuid(journey, &installer)?;
    ensure!(now == formatted, "the disk was formatted again: {formatted}, now {now}");
    Ok(())
}

fn luks_uuid(journey: &Journey, installer: &SshHost) -> Result<String> {
    let look = "blkid -t TYPE=crypto_LUKS -s UUID -o value";
    installer.run(&journey.operator, "root", look)
}

/// Reboots the installer; gives the fingerprint of its new host key, as its console shows it.
fn reboot_installer(journey: &Journey, first: &str) -> Result<String> {
    // The answer is lost with the machine.
    let _ = journey.on_installer("systemctl reboot");
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
    let answering = SshHost::scan(&journey.operator, journey.target.port, "installer-again")?;
    let answering = answering.fingerprint()?;
    ensure!(answering == second, "{answering} answers, but the console shows {second}");
    println!("the installer was started again, with the host key {second}");
    Ok(second)
}

/// Tells everything that a run could change.
fn state_of(journey: &Journey) -> Result<String> {
    let look = "cat /proc/sys/kernel/random/boot_id; readlink /nix/var/nix/profiles/system";
    let mut state = vec![journey.as_user(look)?];
    for (name, checkout) in journey.repos.checkouts() {
        state.push(journey.operator.git(checkout, &["rev-parse", "HEAD"])?);
        state.push(journey.operator.git(checkout, &["status", "--porcelain"])?);
        state.push(journey.forge.head(name)?);
    }
    Ok(state.join("\n"))
}

/// Runs landfall on the finished host, which changes nothing, and says so.
fn change_nothing(journey: &Journey) -> Result<()> {
    let before = state_of(journey)?;
    let began = Instant::now();
    let result = CommandResult::of(&mut journey.bootstrap_command()?)?;
    let seconds = began.elapsed().as_secs_f64();
    result.must_be(Some(0), &["nothing was changed", "guppy is done"])?;
    let after = state_of(journey)?;
    ensure!(before == after, "it changed something:\n{before}\n\n{after}");
    println!("a run on the finished host changed nothing, in {seconds:.1} s");
    Ok(())
}

fn add_failing_unit(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_host(
        "systemd.services.web = {\n    wantedBy = [ \"multi-user.target\" ];\n    \
         serviceConfig = {\n      Type = \"oneshot\";\n      RemainAfterExit = true;\n    };\n    \
         script = \"exit 1\";\n  };",
    )
}

/// Makes a switch take the network down and end every process of sshd.
fn cut_off_while_switching(repos: &Repos, _: &Operator) -> Result<()> {
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

fn fail_at_the_unit(journey: &Journey) -> Result<()> {
    let result = CommandResult::of(&mut journey.bootstrap_command()?)?;
    println!("{}", tail(&result.text));
    result.must_be(Some(1), &["required units are not up", "web.service"])?;
    let systems = journey.as_user("readlink -f /run/current-system /run/booted-system")?;
    let (current, booted) = systems.split_once('\n').context("two systems")?;
    ensure!(current != booted, "the full system was booted, not switched to: {current}");
    println!("switched from {booted} to {current}, over a connection that was cut off");
    Ok(())
}

fn continue_with_fixed_unit(journey: &Journey) -> Result<()> {
    journey.repos.replace(HOST_MODULE, "exit 1", "exit 0")?;
    journey.commit_config("Mend the unit")?;
    let boot = journey.boot_id()?;
    let asked = CommandResult::of(&mut journey.bootstrap_command()?)?;
    asked.must_be(Some(3), &["--sudo-password-file"])?;
    let mut landfall = journey.bootstrap_command()?;
    landfall.arg("--sudo-password-file").arg(journey.sudo_password_file()?);
    let result = CommandResult::of(&mut landfall)?;
    println!("{}", tail(&result.text));
    let says = ["the configuration moved on", "building it anew", "guppy is done"];
    result.must_be(Some(0), &says)?;
    ensure!(journey.boot_id()? == boot, "it was rebooted");
    Ok(())
}

/// Syncs the repositories alone, then with a live switch, then with a reboot.
fn sync(journey: &Journey) -> Result<()> {
    journey.repos.add_to_host("environment.etc.mark.text = \"one\";")?;
    journey.commit_config("One")?;
    run_sync(journey, &[])?.must_be(Some(0), &["guppy is done"])?;
    ensure!(mark(journey)? == "none", "the repositories alone have changed the system");
    sync_by_switch(journey)?;
    sync_by_boot(journey)
}

fn sync_by_switch(journey: &Journey) -> Result<()> {
    run_sync(journey, &["--switch"])?.must_be(Some(3), &["--sudo-password-file"])?;
    let boot = journey.boot_id()?;
    let password = journey.sudo_password_file()?.display().to_string();
    let switch = ["--switch", "--sudo-password-file", &password];
    run_sync(journey, &switch)?.must_be(Some(0), &["active", "guppy is done"])?;
    ensure!(mark(journey)? == "one", "the switch has not switched");
    ensure!(journey.boot_id()? == boot, "the switch has rebooted");
    run_sync(journey, &switch)?.must_be(Some(0), &["done already"])
}

fn sync_by_boot(journey: &Journey) -> Result<()> {
    let boot = journey.boot_id()?;
    let password = journey.sudo_password_file()?.display().to_string();
    journey.repos.replace(HOST_MODULE, "\"one\"", "\"two\"")?;
    journey.commit_config("Two")?;
    journey.operator.git(&journey.repos.config, &["push", "-q"])?;
    let result = run_sync(journey, &["--boot", "--sudo-password-file", &password])?;
    println!("{}", tail(&result.text));
    result.must_be(Some(0), &["booted", "guppy is done"])?;
    ensure!(mark(journey)? == "two", "the boot has not brought the new system");
    ensure!(journey.boot_id()? != boot, "it was not rebooted");
    Ok(())
}

/// Runs `landfall sync` with further flags.
fn run_sync(journey: &Journey, flags: &[&str]) -> Result<CommandResult> {
    let mut landfall = journey.landfall()?;
    landfall.args(["sync", HOST, "--yes", "-i"]).arg(journey.operator.ssh_key()).args(flags);
    CommandResult::of(&mut landfall)
}

/// Reads the mark that the running system bears.
fn mark(journey: &Journey) -> Result<String> {
    journey.as_user("cat /etc/mark 2>/dev/null || echo none")
}
