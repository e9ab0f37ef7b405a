//! What a journey has shown, and how it is printed.

use std::time::Duration;

use super::claims::CheckedClaim;
use super::fixture::Journey;
use super::operator::USER;
use super::status::Step;
use crate::process::interrupted;

/// What a journey that came to its end has shown.
pub(crate) struct Outcome {
    pub(crate) steps: Vec<Step>,
    pub(crate) claims: Vec<CheckedClaim>,
    /// What the actions took, seconds.
    pub(crate) seconds: f64,
}

impl Outcome {
    /// Counts the claims that do not hold.
    pub(crate) fn failed(&self) -> usize {
        self.claims.iter().filter(|claim| claim.evidence.is_err()).count()
    }
}

/// Prints the steps and the claims as tables, and how long it took.
pub(crate) fn print(journey: &Journey, outcome: &Outcome) {
    println!("\n{:<12} {:>8}  step", "state", "seconds");
    for step in &outcome.steps {
        let seconds = step.seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default();
        println!("{:<12} {seconds:>8}  {}", step.state, step.title);
    }
    println!("\n{:<14} proof", "claim");
    for claim in &outcome.claims {
        match &claim.evidence {
            Ok(found) => println!("{:<14} {found}", claim.name),
            Err(error) => println!("{:<14} NOT SHOWN: {error:#}", claim.name),
        }
    }
    println!(
        "\nbootstrap took {:.0} s; with repositories, image and proof {:.0} s",
        outcome.seconds,
        journey.start.elapsed().as_secs_f64()
    );
}

/// Prints whether the disks were touched, if the installer can still be asked.
pub(crate) fn print_disks(journey: &Journey) {
    let look = "wipefs --noheadings /dev/disk/by-id/*landfall-*";
    let user = journey.setup.connection.key_user;
    match journey.installer.run(&journey.operator, user, look) {
        Ok(found) if found.is_empty() => println!("the disk is untouched"),
        Ok(found) => println!("on the disk:\n{found}"),
        Err(error) => println!("what is on the disk cannot be asked: {error:#}"),
    }
}

/// Says how to log in, and leaves everything running until Ctrl-C.
pub(crate) fn keep_running(journey: &Journey) {
    let (operator, target) = (&journey.operator, &journey.target);
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
}
