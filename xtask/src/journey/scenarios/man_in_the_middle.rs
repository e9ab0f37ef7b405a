//! Somebody in the middle: another sshd at the machine's address, whenever the machine
//! itself is away. It is refused, and learns nothing.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::connection::add_kexec_image;
use crate::journey::command_result::one_line;
use crate::journey::fixture::Journey;
use crate::journey::scenario::{Action, Scenario};
use crate::journey::servers::Sshd;
use crate::journey::setup::{InitialSystem, Setup};
use crate::journey::ssh_host::fingerprint_of;
use crate::process::{tail, wait_until};

/// Three to four times what a quiet machine needs.
const AWAY_DEADLINE: Duration = Duration::from_secs(900);
const REFUSED_DEADLINE: Duration = Duration::from_secs(120);

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "man-in-the-middle",
        shows: "another sshd at the machine's address, at the kexec and at the reboot",
        setup: Setup {
            initial_system: InitialSystem::Debian,
            edits: vec![add_kexec_image],
            ..Setup::staged()
        },
        actions: vec![
            Action::Do(appear_at_the_kexec),
            Action::Do(appear_at_the_reboot),
            Action::Bootstrap,
        ],
        ..Scenario::staged()
    }]
}

fn appear_at_the_kexec(journey: &Journey) -> Result<()> {
    refuse_impostor(journey, "waiting for the installer to start").context("at the kexec")?;
    // The machine went on meanwhile, and has the same key in its installer.
    let installer = || {
        let look = "grep -c '^VARIANT_ID=.*installer' /etc/os-release";
        journey.on_installer(look).is_ok_and(|count| count == "1")
    };
    ensure!(wait_until(AWAY_DEADLINE, installer)?, "the installer does not come up");
    Ok(())
}

fn appear_at_the_reboot(journey: &Journey) -> Result<()> {
    refuse_impostor(journey, "waiting for guppy to start").context("at the reboot")
}

/// Runs landfall until it waits, and puts an impostor into the machine's place: landfall must
/// refuse it, and must not try to log in.
fn refuse_impostor(journey: &Journey, waits: &str) -> Result<()> {
    let log = journey.operator.path("in-the-middle.log");
    let file = fs::File::create(&log)?;
    let mut bootstrap = journey.bootstrap_command()?;
    let mut landfall = bootstrap.stdout(file.try_clone()?).stderr(file).spawn()?;
    let met = meet_impostor(journey, &mut landfall, &log, waits);
    let _ = landfall.kill();
    let status = landfall.wait()?;
    let said = fs::read_to_string(&log)?;
    let met = met.with_context(|| tail(&said))?;
    println!("{}", tail(&said));
    ensure!(status.code() == Some(3), "landfall ended with {status}, not with 3");
    let line = one_line(&said);
    ensure!(
        line.contains("another host key") && line.contains(&met.fingerprint),
        "landfall does not say that {} is another key",
        met.fingerprint
    );
    ensure!(met.log.contains("Connection from"), "landfall never met the impostor:\n{}", met.log);
    // Every attempt to log in, and everything that it brings, comes in such a request.
    ensure!(!met.log.contains("userauth-request"), "it tried to log in:\n{}", met.log);
    println!("an impostor with the key {} was refused, and was sent nothing", met.fingerprint);
    Ok(())
}

/// What an impostor can tell of landfall.
struct Met {
    fingerprint: String,
    log: String,
}

/// Puts an impostor at the machine's address once landfall waits, until landfall gives up.
fn meet_impostor(journey: &Journey, landfall: &mut Child, log: &Path, waits: &str) -> Result<Met> {
    let target = &journey.target;
    let mut ended = || matches!(landfall.try_wait(), Ok(Some(_)));
    let says_so = || fs::read_to_string(log).is_ok_and(|text| text.contains(waits));
    let waited = wait_until(AWAY_DEADLINE, || says_so() || ended())?;
    ensure!(waited && !ended(), "landfall never said \"{waits}\"");
    target.close_port()?;
    let dir = journey.operator.path("impostor");
    let impostor =
        Sshd::start(&dir, target.port, &journey.operator.public_key()?, "LogLevel DEBUG1")?;
    let gave_up = wait_until(REFUSED_DEADLINE, ended)?;
    let met =
        Met { fingerprint: fingerprint_of(&impostor.public_key_file())?, log: impostor.log() };
    drop(impostor);
    target.open_port()?;
    ensure!(gave_up, "landfall did not give up; the impostor saw:\n{}", met.log);
    Ok(met)
}
