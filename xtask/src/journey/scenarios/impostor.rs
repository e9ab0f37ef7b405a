//! Somebody in the middle: another sshd at the machine's address, whenever the machine
//! itself is away. It is refused, and learns nothing.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::reach::with_kexec_image;
use crate::journey::course::Journey;
use crate::journey::scenario::{Act, Begins, Scenario};
use crate::run::{output, tail, wait_until};
use crate::sshd::Sshd;

/// Three to four times what a quiet machine needs.
const AWAY_DEADLINE: Duration = Duration::from_secs(900);
const REFUSED_DEADLINE: Duration = Duration::from_secs(120);

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "man-in-the-middle",
        shows: "another sshd at the machine's address, at the kexec and at the reboot",
        begins: Begins::Debian,
        edits: vec![with_kexec_image],
        acts: vec![Act::Do(at_the_kexec), Act::Do(at_the_reboot), Act::Bootstrap],
        ..Scenario::staged()
    }]
}

fn at_the_kexec(journey: &Journey) -> Result<()> {
    in_the_middle(journey, "waiting for the installer to start").context("at the kexec")?;
    // The machine went on meanwhile, and has the same key in its installer.
    let installer = || {
        let look = "grep -c '^VARIANT_ID=.*installer' /etc/os-release";
        journey.installer.run(&journey.operator, "root", look).is_ok_and(|count| count == "1")
    };
    ensure!(wait_until(AWAY_DEADLINE, installer)?, "the installer does not come up");
    Ok(())
}

fn at_the_reboot(journey: &Journey) -> Result<()> {
    in_the_middle(journey, "waiting for guppy to start").context("at the reboot")
}

/// Runs landfall until it waits, puts an impostor into the machine's place, and looks what
/// either of the two makes of the other.
fn in_the_middle(journey: &Journey, waits: &str) -> Result<()> {
    let log = journey.operator.path("in-the-middle.log");
    let file = fs::File::create(&log)?;
    let mut bootstrap = journey.bootstrap_command()?;
    let mut landfall = bootstrap.stdout(file.try_clone()?).stderr(file).spawn()?;
    let met = meets_an_impostor(journey, &mut landfall, &log, waits);
    let _ = landfall.kill();
    let status = landfall.wait()?;
    let said = fs::read_to_string(&log)?;
    let met = met.with_context(|| tail(&said))?;
    println!("{}", tail(&said));
    ensure!(status.code() == Some(3), "landfall ended with {status}, not with 3");
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
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

/// What an impostor can tell.
struct Met {
    fingerprint: String,
    log: String,
}

fn meets_an_impostor(
    journey: &Journey,
    landfall: &mut Child,
    log: &Path,
    waits: &str,
) -> Result<Met> {
    let target = &journey.target;
    let mut ended = || matches!(landfall.try_wait(), Ok(Some(_)));
    let says_so = || fs::read_to_string(log).is_ok_and(|text| text.contains(waits));
    let waited = wait_until(AWAY_DEADLINE, || says_so() || ended())?;
    ensure!(waited && !ended(), "landfall never said {waits:?}");
    target.hide()?;
    let dir = journey.operator.path("impostor");
    let impostor =
        Sshd::start(&dir, target.port, &journey.operator.public_key()?, "LogLevel DEBUG1")?;
    let gave_up = wait_until(REFUSED_DEADLINE, ended)?;
    let list = output(Command::new("ssh-keygen").arg("-lf").arg(dir.join("host_key.pub")))?;
    let fingerprint = list.split(' ').nth(1).context("ssh-keygen printed no fingerprint")?;
    let met = Met { fingerprint: fingerprint.to_string(), log: impostor.log()? };
    drop(impostor);
    target.show()?;
    ensure!(gave_up, "landfall did not give up; the impostor saw:\n{}", met.log);
    Ok(met)
}
