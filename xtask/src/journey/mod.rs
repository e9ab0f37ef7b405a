//! The whole journey in a virtual machine, and the proof that it went well.
//!
//! One operator, one forge, one blank machine: `cargo xtask demo` runs it for people,
//! `cargo xtask test` with something done to it that must end it, or must not.

mod operator;
mod proof;
mod repos;
mod target;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use crate::forge::Forge;
use crate::lab::{enter, setup};
use crate::run::{catch_interrupts, interrupted, tail, wait_until};
use crate::scratch::Scratch;
use crate::vm::Bus;
use operator::{Operator, USER};
use proof::{Claim, Remote, Scene};
use repos::{HOST, KnownSecrets, Repos, SECRETS};
use target::{Attendant, SERIAL, Target, disk_path};

/// How far into the copy a kill comes.
const INTO_THE_STEP: Duration = Duration::from_secs(5);
const STEP_DEADLINE: Duration = Duration::from_secs(400);
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(30 * 60);
const FAILING_UNIT: &str = "sabotage";

/// Something done to the journey that must end it.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Sabotage {
    /// One character of an encrypted secret is changed
    Secret,
    /// The full configuration has a required unit that fails
    Unit,
    /// The installer is expected under another host key
    HostKey,
    /// The remote of the secrets refuses every push
    Push,
}

#[derive(Args)]
pub struct DemoArgs {
    /// Leave the machine running until Ctrl-C, and say how to log in
    #[arg(long)]
    keep: bool,
    /// Do something that must make the journey fail
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// How the machine's disk is attached
    #[arg(long, value_enum, default_value = "virtio")]
    bus: Bus,
    /// Layout of the disk, as `landfall init` names it
    #[arg(long, default_value = "btrfs-luks")]
    layout: String,
    /// Kill landfall in the middle of this step, then run it again
    #[arg(long, value_name = "STEP")]
    kill_during: Option<String>,
}

/// Makes the lab if it is not there, and runs the journey inside it.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let cache = Cache::open()?;
    if !enter::is_inside(&cache) {
        setup::run(&cache)?;
        setup::build_landfall()?;
        let again: Vec<String> = std::env::args().collect();
        return enter::run(&cache, &again);
    }
    catch_interrupts()?;
    travel(&cache, args)
}

fn travel(cache: &Cache, args: &DemoArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let mut scratch = Scratch::new("demo")?;
    let ended = journey(cache, &scratch, args, start);
    if ended.is_err() && !interrupted() {
        scratch.keep();
        eprintln!("what is left of the journey is in {}", scratch.path().display());
    }
    ended
}

fn journey(cache: &Cache, scratch: &Scratch, args: &DemoArgs, start: Instant) -> Result<ExitCode> {
    let operator = Operator::new(&scratch.path().join("home"))?;
    let forge = Forge::start(&scratch.path().join("forge"), &operator.public_key()?)?;
    operator.know(&forge)?;
    let known = KnownSecrets::draw()?;
    let repos = said("repositories", start, || {
        let repos = Repos::init(&operator, &forge, &known, &args.layout, &disk_path(args.bus))?;
        repos.prepare(cache, &operator, &known).map(|()| repos)
    })?;
    sabotage(args.sabotage, &repos, &operator, &forge)?;
    let image = said("installer image", start, || repos.installer_image(&operator))?;
    let target =
        said("machine on", start, || Target::start(cache, scratch.path(), &image, args.bus))?;
    install_and_prove(&Journey {
        args,
        operator: &operator,
        forge: &forge,
        repos: &repos,
        known: &known,
        target: &target,
        start,
    })
}

/// Prints when a part of the preparation is done.
fn said<T>(what: &str, start: Instant, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let made = part().with_context(|| what.to_string())?;
    println!("{:>6.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(made)
}

fn sabotage(
    sabotage: Option<Sabotage>,
    repos: &Repos,
    operator: &Operator,
    forge: &Forge,
) -> Result<()> {
    match sabotage {
        Some(Sabotage::Secret) => repos.corrupt_sample(operator),
        Some(Sabotage::Unit) => repos.add_failing_unit(operator, FAILING_UNIT),
        Some(Sabotage::Push) => forge.refuse_pushes(SECRETS),
        Some(Sabotage::HostKey) | None => Ok(()),
    }
}

struct Journey<'a> {
    args: &'a DemoArgs,
    operator: &'a Operator,
    forge: &'a Forge,
    repos: &'a Repos,
    known: &'a KnownSecrets,
    target: &'a Target,
    start: Instant,
}

fn install_and_prove(journey: &Journey) -> Result<ExitCode> {
    let (operator, target) = (journey.operator, journey.target);
    let shown = said("installer up", journey.start, || target.installer_fingerprint())?;
    let installer = Remote::scan(operator, target.port, "installer")?;
    let answering = installer.fingerprint()?;
    ensure!(answering == shown, "{answering} answers, but the console shows {shown}");
    let installer_boot_id = installer.boot_id(operator, "root")?;
    let attendant = target.attend(&journey.known.passphrase)?;
    let began = Instant::now();
    if let Err(error) = bootstrap(journey, &attendant, &shown) {
        say_what_is_on_the_disk(operator, &installer);
        return Err(error);
    }
    let took = began.elapsed();
    let typed = attendant.leave()?;
    let scene = Scene {
        operator,
        forge: journey.forge,
        repos: journey.repos,
        known: journey.known,
        target,
        installer_boot_id: &installer_boot_id,
        typed,
    };
    let claims = scene.prove();
    report(journey, &claims, took)
}

/// After a failure: whether the disk was touched, if the installer can still be asked.
fn say_what_is_on_the_disk(operator: &Operator, installer: &Remote) {
    match installer.run(operator, "root", "wipefs --noheadings /dev/disk/by-id/*landfall-demo") {
        Ok(found) if found.is_empty() => println!("the disk is untouched"),
        Ok(found) => println!("on the disk:\n{found}"),
        Err(error) => println!("what is on the disk cannot be asked: {error:#}"),
    }
}

/// Runs landfall as the operator would, killing it once if that is asked for.
fn bootstrap(journey: &Journey, attendant: &Attendant, fingerprint: &str) -> Result<()> {
    if let Some(step) = &journey.args.kill_during {
        let mut first = bootstrap_command(journey, fingerprint)?.spawn()?;
        let killed = kill_during(journey, &mut first, step);
        let _ = first.kill();
        first.wait()?;
        killed?;
        println!("killed landfall in the middle of {step}; running it again");
    }
    let mut landfall = bootstrap_command(journey, fingerprint)?.spawn()?;
    let waited = wait_until(BOOTSTRAP_DEADLINE, || {
        attendant.machine_is_stuck() || !matches!(landfall.try_wait(), Ok(None))
    });
    if matches!(landfall.try_wait(), Ok(None)) {
        landfall.kill()?;
        landfall.wait()?;
        waited?;
        let log = journey.target.console_log();
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        bail!("the machine does not start; its console ends with:\n{}", tail(&text));
    }
    let status = landfall.wait()?;
    ensure!(status.success(), "landfall bootstrap ended with {status}");
    Ok(())
}

fn bootstrap_command(journey: &Journey, fingerprint: &str) -> Result<Command> {
    let expected = match journey.args.sabotage {
        Some(Sabotage::HostKey) => "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        _ => fingerprint,
    };
    let passphrase = journey.operator.secret_file("passphrase", &journey.known.passphrase)?;
    let mut landfall = journey.operator.landfall()?;
    landfall
        .arg("-C")
        .arg(&journey.repos.config)
        .args(["bootstrap", HOST, "root@127.0.0.1", "-p", &journey.target.port.to_string()])
        .arg("-i")
        .arg(journey.operator.ssh_key())
        .args(["--yes", "--erase", SERIAL, "--installer-fingerprint", expected])
        .arg("--luks-passphrase-file")
        .arg(passphrase)
        .stdin(Stdio::null());
    if journey.args.sabotage == Some(Sabotage::Unit) {
        landfall.args(["--require-unit", &format!("{FAILING_UNIT}.service")]);
    }
    Ok(landfall)
}

/// Waits until a step has been running for a while.
fn kill_during(journey: &Journey, first: &mut std::process::Child, step: &str) -> Result<()> {
    let mut since = None;
    let mut ended = false;
    let reached = wait_until(STEP_DEADLINE, || {
        std::thread::sleep(Duration::from_millis(300));
        ended = matches!(first.try_wait(), Ok(Some(_)));
        if ended || !step_runs(journey, step).unwrap_or(false) {
            return ended;
        }
        since.get_or_insert_with(Instant::now).elapsed() > INTO_THE_STEP
    })?;
    ensure!(!ended, "landfall ended before the middle of {step}");
    ensure!(reached, "{step} did not begin within {STEP_DEADLINE:?}");
    Ok(())
}

fn step_runs(journey: &Journey, step: &str) -> Result<bool> {
    Ok(steps(journey)?.iter().any(|seen| seen["id"] == step && seen["state"] == "running"))
}

/// The steps of the run as `landfall status --json` tells them.
fn steps(journey: &Journey) -> Result<Vec<serde_json::Value>> {
    let mut status = journey.operator.landfall()?;
    status.arg("-C").arg(&journey.repos.config).args(["status", HOST, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&crate::run::output(&mut status)?)?;
    let run = if json.is_array() { &json[0] } else { &json };
    run["steps"].as_array().cloned().context("status --json tells no steps")
}

fn report(journey: &Journey, claims: &[Claim], took: Duration) -> Result<ExitCode> {
    println!("\n{:<12} {:>8}  step", "state", "seconds");
    for step in steps(journey)? {
        let seconds = step["seconds"].as_f64().map(|seconds| format!("{seconds:.1}"));
        println!(
            "{:<12} {:>8}  {}",
            step["state"].as_str().unwrap_or_default(),
            seconds.unwrap_or_default(),
            step["title"].as_str().or(step["id"].as_str()).unwrap_or_default()
        );
    }
    println!("\n{:<14} proof", "claim");
    let mut failed = 0;
    for claim in claims {
        match &claim.found {
            Ok(found) => println!("{:<14} {found}", claim.name),
            Err(error) => {
                failed += 1;
                println!("{:<14} NOT SHOWN: {error:#}", claim.name);
            }
        }
    }
    println!(
        "\nbootstrap took {:.0} s; with repositories, image and proof {:.0} s",
        took.as_secs_f64(),
        journey.start.elapsed().as_secs_f64()
    );
    if journey.args.keep {
        keep(journey)?;
    }
    if failed > 0 {
        bail!("{failed} of {} claims do not hold", claims.len());
    }
    println!("all {} claims hold", claims.len());
    Ok(ExitCode::SUCCESS)
}

/// Says how to log in, and leaves everything running until Ctrl-C.
fn keep(journey: &Journey) -> Result<()> {
    let (operator, target) = (journey.operator, journey.target);
    println!(
        "\nthe machine runs until Ctrl-C:\n  ssh -i {} -o UserKnownHostsFile={} -p {} {USER}@127.0.0.1",
        operator.ssh_key().display(),
        operator.path(".ssh/known_hosts").display(),
        target.port
    );
    println!(
        "its password is in {}, its console's log {}",
        operator.path("password").display(),
        target.console_log().display()
    );
    while !interrupted() {
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
