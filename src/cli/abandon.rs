//! `landfall abandon`: forgets an unfinished run, and says what it left behind;
//! `--undo` takes back what can be.

use std::sync::mpsc;

use clap::Args;

use super::Cli;
use super::args::JourneyArgs;
use super::session::left_over;
use crate::cli::args::into_config::host_config;
use crate::config::ConfigRepo;
use crate::error::{Exit, StepError};
use crate::run::event::{Event, Events};
use crate::run::facts::FactsError;
use crate::run::journal;
use crate::run::journal::{Journal, JournalError, Line};
use crate::run::run_dir::{RunDir, StateDir};
use crate::run::step::StepId;
use crate::steps::context::Context;
use crate::steps::identity::run_keys::RunKeys;
use crate::steps::undo;
use crate::ui::prompt::{Question, prompter};
use crate::ui::{Screen, say};

#[derive(Debug, Clone, Args)]
pub(crate) struct AbandonArgs {
    pub(crate) host: String,

    /// Take back what can be: the recipient and the files' data keys, local commits, keys
    #[arg(long)]
    pub(crate) undo: bool,

    /// A recipient that may gain access to files of the secrets; --yes never answers that
    #[arg(long, value_name = "RECIPIENT", requires = "undo")]
    pub(crate) grant: Vec<String>,

    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

pub(crate) fn run(cli: &Cli, args: &AbandonArgs) -> Result<Exit, StepError> {
    let host = StateDir::open()?.host(&args.host)?;
    left_over::end(&host)?;
    // A host without a run gets no folder by being asked for.
    let lock = host.current()?.map(|_| host.lock()).transpose()?;
    let Some(dir) = host.current()? else {
        return Err(StepError::new(
            format!("there is no unfinished run of {}", args.host),
            "",
            "landfall status lists the runs.",
        )
        .exit(Exit::Usage));
    };
    // Locked: a run that is at work cannot be abandoned.
    let (journal, unreadable) = Journal::open_readable(&dir.journal())?;
    drop(lock);
    let undoable = match &unreadable {
        None => undoable(journal.lines(), &args.host),
        Some(error) => Err(half_known(error, &args.host)),
    };
    if args.undo {
        undoable.clone()?;
    }
    say(format!("The run {} of {} leaves behind:", dir.id(), args.host));
    for line in leftovers(journal.lines(), args.undo)? {
        say(format!("  {line}"));
    }
    if let Some(error) = &unreadable {
        say(format!("  perhaps more: {error}"));
    }
    if !args.undo && undoable.is_ok() {
        say(format!("landfall abandon {} --undo takes back what can be.", args.host));
    }
    let what =
        if args.undo { "Take back what can be, and forget the run?" } else { "Forget the run?" };
    let question = Question::new(what, "--yes").answered_by_yes();
    if !prompter(args.yes, Screen::still()).confirm(&question)? {
        return Ok(Exit::Person);
    }
    let keys = RunKeys::in_dir(dir.path());
    if args.undo {
        take_back(cli, args, &dir, journal)?;
        keys.forget()?;
        say(
            "The run's keys are deleted. What was pushed stays readable in git's history to whoever has a copy of its key.",
        );
    } else {
        // A machine that was installed has its key itself; nobody else needs it.
        keys.forget_private()?;
    }
    host.forget_current()?;
    say(format!("Forgotten. Its log stays: {}", dir.log().display()));
    Ok(Exit::Done)
}

/// A machine that runs needs what would be taken from it.
fn undoable(lines: &[Line], host: &str) -> Result<(), StepError> {
    let refuse = |what: &str, hint: String| {
        Err(StepError::new(format!("the run of {host} is not taken back"), what, hint)
            .exit(Exit::Usage))
    };
    if journal::completed(lines) {
        let hint = format!("To take its secrets away: landfall secrets remove-host {host}");
        return refuse("it is complete, and the machine runs with its key", hint);
    }
    if journal::intention(lines, StepId::Retire).is_some() {
        let hint = format!("Finish the run, or forget it without --undo: landfall abandon {host}");
        return refuse("the key before it is being retired, and there is no way back", hint);
    }
    Ok(())
}

/// What cannot be read may say that the run is complete.
fn half_known(error: &JournalError, host: &str) -> StepError {
    StepError::new(
        format!("the run of {host} is not taken back"),
        error.to_string(),
        format!("Forget it without --undo, which says what is left: landfall abandon {host}"),
    )
    .exit(Exit::Usage)
}

fn take_back(
    cli: &Cli,
    args: &AbandonArgs,
    dir: &RunDir,
    journal: Journal,
) -> Result<(), StepError> {
    let place = ConfigRepo::find(cli.directory.as_deref(), cli.settings.as_deref())?;
    let mut config = host_config(&place, &JourneyArgs::of_host(&args.host))?;
    config.grants = args.grant.clone();
    config.push = undo::pushed_to(journal.lines())?;
    let Some(identity) = journal::identity(journal.lines()).cloned() else { return Ok(()) };
    crate::run::log::start(dir, cli.verbose)?;
    let (sender, receiver) = mpsc::channel();
    let events = Events::new(args.host.as_str(), sender);
    let prompter = prompter(true, Screen::still());
    let cx = Context::new(config, identity, dir.path().to_owned(), journal, events, prompter);
    // The commits first: where the secrets lie in the configuration, they are pushed with it.
    let result = undo::config(&cx).and_then(|mut done| {
        done.extend(undo::secrets(&cx)?);
        Ok(done)
    });
    for stamped in receiver.try_iter() {
        if let Event::Note { text } | Event::Warning { text } = stamped.event {
            say(text);
        }
    }
    for line in result? {
        say(format!("Taken back: {line}."));
    }
    Ok(())
}

/// What each step that ran has left, in the words of a person who must tidy up, and
/// what an undo does about it.
fn leftovers(lines: &[Line], undo: bool) -> Result<Vec<String>, FactsError> {
    let began = |step| journal::intention(lines, step).is_some();
    let mut left = Vec::new();
    let (out, reverted) = match undo {
        true => ("is taken out, and the files get new data keys", "are reverted"),
        false => ("landfall secrets remove-host takes it out", "git revert takes them back"),
    };
    if let Some(recipient) = undo::added(lines)? {
        left.push(format!("{recipient} in the secrets repository: {out}"));
    }
    if began(StepId::Hardware) || began(StepId::Lock) {
        left.push(format!(
            "local commits of the hardware file and the locks in nix-config: {reverted}"
        ));
    }
    if journal::finished(lines, StepId::Publish).is_some() {
        left.push("nix-config, pushed with them: that stays".into());
    }
    if began(StepId::Disks) {
        left.push("formatted disks: what was on them is gone".into());
    }
    if journal::finished(lines, StepId::Install).is_some() {
        let loses = if undo { ", which will not open the secrets any more" } else { "" };
        left.push(format!("an installed system with the host key of this run{loses}"));
    }
    if left.is_empty() {
        left.push("nothing but its log".into());
    }
    Ok(left)
}
