//! `landfall passphrase`: another passphrase for an encrypted disk of an installed host.
//!
//! The new one is proven before the old one goes (`luks.rs`); what the secrets repository
//! keeps follows last, so that a command that was interrupted finds the old one there.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Cli;
use super::args::{ConnectionArgs, HostAndTargetArgs};
use super::session::visit;
use crate::cli::session::visit::Visit;
use crate::config::SecretPlace;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::secret::Secret;
use crate::sops::change::stored_value;
use crate::steps::connect::sudo;
use crate::steps::context::Context;
use crate::steps::secrets;
use crate::steps::secrets::stored;
use crate::steps::shared_edit::Edit;
use crate::target::luks::{LuksDevice, LuksHeader, PassphraseChange, volumes};
use crate::target::passphrase;
use crate::target::passphrase::PassphraseError;
use crate::ui::prompt::Question;

#[derive(Debug, Clone, Args)]
pub(crate) struct PassphraseArgs {
    #[command(flatten)]
    pub(crate) machine: HostAndTargetArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// The encrypted volume, by its name below /dev/mapper or its device; repeatable
    /// [else: the only one, or a question]
    #[arg(long, value_name = "NAME")]
    pub(crate) volume: Vec<String>,

    /// File with the passphrase that opens it now [else: a question]
    #[arg(long, value_name = "FILE")]
    pub(crate) old_passphrase_file: Option<PathBuf>,

    /// File with the passphrase that shall open it [else: a question]
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,

    /// Value of an encrypted file that holds the passphrase: the old one is read from it,
    /// and the new one put there; FILE lies in the secrets repository
    #[arg(long, value_name = "FILE:KEY", conflicts_with = "old_passphrase_file")]
    pub(crate) luks_passphrase_secret: Option<String>,

    /// Commit the new value locally, push nothing
    #[arg(long, requires = "luks_passphrase_secret")]
    pub(crate) no_push: bool,

    /// A recipient that may read the value when its file is made; --yes never answers that
    #[arg(long, value_name = "RECIPIENT", requires = "luks_passphrase_secret")]
    pub(crate) grant: Vec<String>,

    /// The user who logs in
    #[arg(long, env = "LANDFALL_USER")]
    pub(crate) user: Option<String>,

    /// Ask nothing; what needs an answer and has no flag ends with exit code 3
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// What stands for the volumes in errors about a passphrase.
const VOLUME: &str = "the volume";

pub(crate) fn run(cli: &Cli, args: &PassphraseArgs) -> Result<Exit, StepError> {
    let place =
        args.luks_passphrase_secret.as_deref().map(str::parse::<SecretPlace>).transpose()?;
    // Wrong use is found before anybody is connected to.
    let old = args.old_passphrase_file.as_deref().map(given).transpose()?;
    let new = args.new_passphrase_file.as_deref().map(given).transpose()?;
    if let Some(new) = &new {
        passphrase::can_be_typed(VOLUME, new)?;
    }
    let mut journey = visit::journey_to(&args.machine, &args.connection);
    journey.user.clone_from(&args.user);
    journey.no_push = args.no_push;
    journey.grant.clone_from(&args.grant);
    visit::within(cli, &journey, "passphrase", args.yes, |visit| {
        change(visit, args, place.as_ref(), old, new).map(|()| Exit::Done)
    })
}

/// The passphrase in a file, which may be a pipe.
fn given(path: &Path) -> Result<Secret, PassphraseError> {
    let bytes = std::fs::read(path)
        .map_err(|source| PassphraseError::Read { path: path.to_owned(), source })?;
    passphrase::single_line(VOLUME, &Secret::new(bytes))
}

fn change(
    visit: &mut Visit<'_>,
    args: &PassphraseArgs,
    place: Option<&SecretPlace>,
    old: Option<Secret>,
    new: Option<Secret>,
) -> Result<(), StepError> {
    // What is kept is looked at, and can be changed, before the disk is.
    let old = match place {
        Some(place) => Some(kept_at(visit.cx, place)?),
        None => old,
    };
    visit.connect()?;
    sudo::ensure(visit.cx)?;
    let cx: &Context = visit.cx;
    let volumes = chosen(cx, &args.volume)?;
    let session = &cx.target()?.session;
    let headers: Vec<LuksHeader> =
        volumes.iter().map(|volume| LuksHeader::read(session, volume)).collect::<Result<_, _>>()?;
    let names = volumes.iter().map(LuksDevice::display_name).collect::<Vec<_>>().join(", ");
    let old = old.map_or_else(|| ask_old(cx, &names), Ok)?;
    let new = new.map_or_else(|| ask_new(cx, &names), Ok)?;
    for (header, volume) in headers.iter().zip(&volumes) {
        let change = header.change(&old, &new)?;
        cx.events.note(told(volume, change));
        let others = LuksHeader::read(session, volume)?.keyslots().unwrap_or(1).saturating_sub(1);
        if others > 0 {
            cx.events.note(format!(
                "{}: {others} more key slots open it as before: another passphrase, a key file, a \
                 token",
                volume.display_name()
            ));
        }
    }
    match place {
        Some(place) => keep(cx, place, &new, &names),
        None => Ok(()),
    }
}

fn told(volume: &LuksDevice, change: PassphraseChange) -> String {
    let name = volume.display_name();
    match change {
        PassphraseChange::Changed => {
            format!("{name}: the new passphrase opens it, and the old one no longer")
        }
        PassphraseChange::Completed => format!(
            "{name}: the new passphrase opened it already; now the old one does so no longer"
        ),
        PassphraseChange::AlreadyDone => {
            format!("{name}: done already, the new passphrase opens it")
        }
    }
}

/// The volumes that are named, else the only one, else one that a person picks.
fn chosen(cx: &Context, names: &[String]) -> Result<Vec<LuksDevice>, StepError> {
    let there = volumes(&cx.target()?.facts.disks);
    if !names.is_empty() {
        return names.iter().map(|name| named(&there, name)).collect();
    }
    match there.as_slice() {
        [] => Err(StepError::new(
            format!("{} has no encrypted volume", cx.config.host),
            "none of its disks holds LUKS",
            "Name the device with --volume if it is somewhere else.",
        )
        .exit(Exit::Usage)),
        [only] => Ok(vec![only.clone()]),
        several => {
            let options: Vec<String> =
                several.iter().map(|volume| volume.display_name().to_owned()).collect();
            let question = Question::new("Which volume gets another passphrase?", "--volume NAME")
                .detail(format!("encrypted: {}", options.join(", ")));
            if !cx.prompter.is_interactive() {
                return Err(unclear(&options));
            }
            Ok(vec![several[cx.prompter.choose(&question, &options)?].clone()])
        }
    }
}

fn named(there: &[LuksDevice], name: &str) -> Result<LuksDevice, StepError> {
    let known =
        there.iter().find(|volume| volume.name.as_deref() == Some(name) || volume.device == name);
    match known {
        Some(volume) => Ok(volume.clone()),
        None if name.starts_with('/') => Ok(LuksDevice { name: None, device: name.to_owned() }),
        None => {
            let names: Vec<&str> = there.iter().map(LuksDevice::display_name).collect();
            Err(StepError::new(
                format!("there is no open volume {name}"),
                format!("the encrypted volumes there are: {}", names.join(", ")),
                "Name one of them, or its device, with --volume.",
            )
            .exit(Exit::Usage))
        }
    }
}

fn unclear(names: &[String]) -> StepError {
    StepError::new(
        "it is not clear which volume gets another passphrase",
        format!("encrypted are {}", names.join(", ")),
        "Name it with --volume NAME; several that have the same passphrase: --volume A --volume B.",
    )
    .exit(Exit::Person)
}

fn ask_old(cx: &Context, names: &str) -> Result<Secret, StepError> {
    let question =
        Question::new(format!("Passphrase that opens {names} now"), "--old-passphrase-file FILE");
    Ok(passphrase::single_line(names, &cx.prompter.secret(&question)?)?)
}

fn ask_new(cx: &Context, names: &str) -> Result<Secret, StepError> {
    let question =
        Question::new(format!("New passphrase for {names}"), "--new-passphrase-file FILE")
            .detail("It is asked for at every boot of the machine.");
    let new = passphrase::single_line(names, &cx.prompter.new_secret(&question)?)?;
    passphrase::can_be_typed(names, &new)?;
    Ok(new)
}

/// The passphrase that the secrets repository keeps, which can be replaced there.
fn kept_at(cx: &Context, place: &SecretPlace) -> Result<Secret, StepError> {
    if place.file.is_absolute() {
        return Err(StepError::new(
            format!("{} is not in the secrets repository", place.file.display()),
            "only there a new passphrase can be put, committed and pushed",
            "Give both passphrases by files, and put the new one there with sops.",
        )
        .exit(Exit::Usage));
    }
    secrets::place(cx)?.check()?;
    let kept = stored::value(cx, place)?;
    let missing =
        || PassphraseError::Missing { file: place.file.clone(), key: place.key.join("/") };
    Ok(kept.ok_or_else(missing)?)
}

/// Puts the new passphrase where the old one was kept.
fn keep(cx: &Context, place: &SecretPlace, new: &Secret, names: &str) -> Result<(), StepError> {
    let repository = secrets::place(cx)?;
    let key: Vec<&str> = place.key.iter().map(String::as_str).collect();
    let published = repository
        .edit(|root| {
            let secrets = secrets::secrets_in(cx, &repository, root)?;
            let rules = secrets.dir.join(&secrets.sops_config);
            let path = rules.parent().unwrap_or(&secrets.dir).join(&place.file);
            if stored_value::read(&path, &key, cx.operator())?.as_ref() == Some(new) {
                return Ok(None);
            }
            let host = secrets::recipient_of(&secrets, cx.config.host.as_str())?;
            let never: Vec<&str> = host.iter().map(String::as_str).collect();
            let grants = secrets::grants(cx)?;
            let (dir, file) = (&secrets.dir, &place.file);
            stored_value::write(dir, &rules, file, &key, new, &never, cx.operator(), &grants)?;
            let message = format!("{}: new passphrase of {names}", cx.config.host);
            Ok(Some(Edit { paths: Repo::open(root)?.dirty()?, message }))
        })
        .map_err(|error| error.doing("the disk has its new passphrase, but it is not stored"))?;
    published.tell(cx, repository.repo());
    cx.events.note(format!(
        "{} keeps the new passphrase, commit {}",
        place.file.display(),
        crate::git::short(&published.revision)
    ));
    Ok(())
}
