//! `landfall abandon`: forgets an unfinished run, and says what it left behind.

use crate::cli::{AbandonArgs, Cli};
use crate::error::{Exit, StepError};
use crate::journal::{self, Journal, Line};
use crate::keys::RunKeys;
use crate::prompt::{Question, prompter};
use crate::state::StateDir;
use crate::step::StepId;
use crate::ui::{Screen, say};

pub fn run(_cli: &Cli, args: &AbandonArgs) -> Result<Exit, StepError> {
    let host = StateDir::open()?.host(&args.host)?;
    let Some(dir) = host.current()? else {
        return Err(StepError::new(
            format!("there is no unfinished run of {}", args.host),
            "",
            "landfall status lists the runs.",
        )
        .exit(Exit::Usage));
    };
    // Locked: a run that is at work cannot be abandoned.
    let journal = Journal::open(&dir.journal())?;
    let left = leftovers(journal.lines());
    say(format!("The run {} of {} leaves behind:", dir.id(), args.host));
    for line in &left {
        say(format!("  {line}"));
    }
    let question = Question::new("Forget the run?", "--yes").answered_by_yes();
    if !prompter(args.yes, Screen::still()).confirm(&question)? {
        return Ok(Exit::Person);
    }
    // A machine that was installed has its key itself; nobody else needs it.
    RunKeys::in_dir(dir.path()).forget_private()?;
    host.forget_current()?;
    say(format!("Forgotten. Its log stays: {}", dir.log().display()));
    Ok(Exit::Done)
}

/// What each step that ran has left, in the words of a person who must tidy up.
fn leftovers(lines: &[Line]) -> Vec<String> {
    let began = |step| journal::intention(lines, step).is_some();
    let mut left = Vec::new();
    if began(StepId::Secrets) {
        let recipient = journal::intention(lines, StepId::Secrets)
            .and_then(|evidence| evidence.fact("recipient"))
            .unwrap_or("the host's recipient");
        left.push(format!(
            "{recipient} in the secrets repository: landfall secrets remove-host takes it out"
        ));
    }
    if began(StepId::Hardware) {
        left.push("a local commit with the hardware file and the locks in nix-config".into());
    }
    if began(StepId::Disks) {
        left.push("formatted disks: what was on them is gone".into());
    }
    if journal::finished(lines, StepId::Install).is_some() {
        left.push("an installed system with the host key of this run".into());
    }
    if left.is_empty() {
        left.push("nothing but its log".into());
    }
    left
}
