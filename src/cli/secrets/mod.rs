//! `landfall secrets`: who may read which file, outside of a journey.

mod args;
mod change;
mod needs;
mod remove;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use args::{
    AddHostArgs, ChangeArgs, RemoveHostArgs, SecretsCommand, UpdatekeysArgs, UserKeyArgs,
    VerifyArgs,
};

use super::Cli;
use super::keys;
use crate::config::detect;
use crate::config::{ConfigError, ConfigRepo, SecretsRepo};
use crate::error::{Exit, StepError};
use crate::secret::age::Recipient;
use crate::sops::change::EditSettings;
use crate::sops::change::user_key::{KeyPlace, plan_user_key};
use crate::sops::change::{
    plan_add_host, plan_rename_host, plan_rotate, plan_update, propose_rules, recipient_of,
};
use crate::sops::proof;
use crate::sops::proof::identities::{Identities, Places};
use crate::sops::proof::verify;
use crate::sops::rules::hosts::Role;
use crate::ui::Screen;
use crate::ui::prompt::{Prompter, prompter};
use change::{show, write};
use needs::{needs, place_of_user_key};

/// Where a command works and how it asks.
struct Surroundings<'a> {
    directory: Option<&'a Path>,
    settings: Option<&'a Path>,
    prompter: Arc<dyn Prompter>,
}

pub(crate) fn run(
    command: &SecretsCommand,
    cli: &Cli,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    let at = &Surroundings {
        directory: cli.directory.as_deref(),
        settings: cli.settings.as_deref(),
        prompter: prompter(false, Screen::still()),
    };
    let repo = secrets_repo(at)?;
    match command {
        SecretsCommand::AddHost(args) => add_host(args, at, &repo, out),
        SecretsCommand::RemoveHost(args) => remove::run(args, at, &repo, out),
        SecretsCommand::RenameHost(args) => {
            let settings = EditSettings {
                anchor: args.anchor.clone(),
                old_recipient: args.old_recipient.clone(),
                allow_dirty: args.change.allow_dirty,
                ..EditSettings::default()
            };
            let change =
                plan_rename_host(&repo.dir, &config_of(&repo), &args.old, &args.new, &settings)?;
            write(&change, &args.change, at, &repo, out)?;
            Ok(Exit::Done)
        }
        SecretsCommand::UserKey(args) => user_key(args, at, &repo, out),
        SecretsCommand::Updatekeys(args) => updatekeys(args, at, &repo, out),
        SecretsCommand::Rotate(args) => {
            let files = from_here(&args.files)?;
            let settings =
                EditSettings { allow_dirty: args.change.allow_dirty, ..EditSettings::default() };
            let change = plan_rotate(&repo.dir, &config_of(&repo), &files, &settings, &operator())?;
            write(&change, &args.change, at, &repo, out)?;
            Ok(Exit::Done)
        }
        SecretsCommand::Verify(args) => verify_command(args, at, &repo, out),
    }
}

fn operator() -> Identities {
    Identities::of_operator(&Places::of_process())
}

fn config_of(repo: &SecretsRepo) -> PathBuf {
    repo.dir.join(&repo.sops_config)
}

/// The secrets that the working folder is about: its own, else those of the nix-config there.
fn secrets_repo(at: &Surroundings<'_>) -> Result<SecretsRepo, StepError> {
    let start = at.directory.unwrap_or(Path::new("."));
    let start = std::fs::canonicalize(start).unwrap_or_else(|_| start.to_owned());
    let root = start.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(&start);
    // In a folder with rules of its own these are meant, as sops itself looks upward.
    let nearest = start.ancestors().take_while(|dir| *dir != root);
    let nearest = nearest.map(|dir| dir.join(".sops.yaml")).find(|file| file.is_file());
    if let Some(sops_config) = nearest.as_deref().and_then(|file| file.strip_prefix(root).ok()) {
        let (dir, sops_config) = (root.to_owned(), sops_config.to_owned());
        return Ok(SecretsRepo { dir, input: None, sops_config });
    }
    let of_config = ConfigRepo::find(Some(&start), at.settings).and_then(|place| place.secrets());
    if let Ok(Some(repo)) = of_config {
        return Ok(repo);
    }
    let tracked = detect::tracked_files(root).unwrap_or_default();
    let sops_config = detect::sops_config(&tracked)
        .or_else(|| root.join(".sops.yaml").is_file().then(|| ".sops.yaml".into()));
    if let Some(sops_config) = sops_config {
        return Ok(SecretsRepo { dir: root.to_owned(), input: None, sops_config });
    }
    if detect::is_agenix(root) {
        return Err(agenix(root));
    }
    Err(match of_config {
        Err(error) if !matches!(error, ConfigError::NoFlake { .. }) => error.into(),
        _ => StepError::new(
            format!("there are no secrets in {}", root.display()),
            "neither a .sops.yaml nor a flake input whose name contains `secret`",
            "Run it in your secrets repository, or set `secrets` in landfall.toml.",
        )
        .exit(Exit::Usage),
    })
}

fn agenix(root: &Path) -> StepError {
    StepError::new(
        format!("the secrets in {} are agenix', not sops'", root.display()),
        "there are files of age (or a secrets.nix) and no .sops.yaml",
        "landfall secrets works with sops. Use agenix' own command: agenix --rekey after a change of \
         secrets.nix, agenix rekey with agenix-rekey.",
    )
    .exit(Exit::Usage)
}

/// Paths from the command line mean the folder that the command was called in.
fn from_here(files: &[PathBuf]) -> Result<Vec<PathBuf>, StepError> {
    let absolute = files.iter().map(|file| {
        std::path::absolute(file).map_err(|error| {
            StepError::new(
                format!("{} is not a path", file.display()),
                error.to_string(),
                "Name a file.",
            )
            .exit(Exit::Usage)
        })
    });
    absolute.collect()
}

fn add_host(
    args: &AddHostArgs,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    let recipient = one_recipient(&args.key)?;
    let mut files = from_here(&args.file)?;
    let mut rules = args.rule.clone();
    let mut proposed = false;
    if files.is_empty() && rules.is_empty() {
        match needs(&args.host, at, repo) {
            Ok(needs) => files.extend(needs.into_iter().map(|need| need.file)),
            Err(error) => {
                rules = propose_rules(&repo.dir, &config_of(repo), &args.host)?;
                proposed = true;
                say(
                    out,
                    &format!(
                        "The configuration was not evaluated ({error}), so these rules are a guess."
                    ),
                )?;
            }
        }
    }
    let settings = EditSettings {
        anchor: args.anchor.clone(),
        rules,
        old_recipient: args.old_recipient.clone(),
        allow_dirty: args.change.allow_dirty,
        ..EditSettings::default()
    };
    let identities = operator();
    let change = plan_add_host(
        &repo.dir,
        &config_of(repo),
        &args.host,
        &recipient,
        &files,
        &settings,
        &identities,
    )?;
    if proposed && args.change.yes && !args.change.dry_run && !change.is_empty() {
        show(&change, repo, out)?;
        return Err(StepError::new(
            "nobody can be asked whether the guessed rules are right",
            "a key that was once granted stays readable in git's history for ever",
            "Name the files or rules: --file FILE, --rule REGEX",
        )
        .exit(Exit::Person));
    }
    let written = write(&change, &args.change, at, repo, out)?;
    if let Some(old) = change.old_recipient.as_deref().filter(|_| written) {
        let shown = proof::prove_removed(change.encrypted(), old, &identities, false)?;
        say(
            out,
            &format!(
                "Shown: the old key of {} opens none of the {shown} file(s). It knew their data keys: \
                 new ones are made by landfall secrets rotate.",
                args.host
            ),
        )?;
    }
    Ok(Exit::Done)
}

fn one_recipient(path: &Path) -> Result<Recipient, StepError> {
    let text = keys::read(path)?;
    let text = text.expose_str().unwrap_or_default();
    let private = text.contains("PRIVATE KEY");
    let found = match private {
        true => vec![crate::secret::age::HostKeyPair::parse(text)?.recipient()?],
        false => keys::recipients(text)?,
    };
    match found.as_slice() {
        [one] => Ok(one.clone()),
        several => Err(StepError::new(
            format!("{} holds {} keys", path.display(), several.len()),
            "a host has one",
            "Name a file with the host's ed25519 key alone.",
        )
        .exit(Exit::Usage)),
    }
}

fn user_key(
    args: &UserKeyArgs,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    let Some((user, host)) =
        args.user.split_once('@').filter(|(u, h)| !u.is_empty() && !h.is_empty())
    else {
        return Err(StepError::new(
            format!("{} is not of the form USER@HOST", args.user),
            "a user's key belongs to one host",
            "For example: landfall secrets user-key alice@guppy",
        )
        .exit(Exit::Usage));
    };
    let (file, path) = match (&args.file, &args.path) {
        (Some(file), Some(path)) => (from_here(std::slice::from_ref(file))?.remove(0), split(path)),
        _ => place_of_user_key(user, host, at, repo)?,
    };
    let settings = EditSettings {
        role: Role::Person,
        anchor: args.anchor.clone(),
        rules: args.rule.clone(),
        allow_dirty: args.change.allow_dirty,
        ..EditSettings::default()
    };
    let place = KeyPlace { file: &file, path: &path };
    let name = format!("{user}_{host}");
    let planned =
        plan_user_key(&repo.dir, &config_of(repo), &name, &place, &settings, &operator())?;
    let what = if planned.made { "made" } else { "there already" };
    say(out, &format!("key of {user} on {host}: {} ({what})", planned.recipient))?;
    write(&planned.change, &args.change, at, repo, out)?;
    Ok(Exit::Done)
}

fn split(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn updatekeys(
    args: &UpdatekeysArgs,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    let files = from_here(&args.files)?;
    if args.check {
        let compared = verify::out_of_date(&repo.dir, &config_of(repo), &files)?;
        for (path, reason) in &compared.left_out {
            say(out, &format!("note: {}: {reason}", path.display()))?;
        }
        let late = compared.out_of_date;
        for file in &late {
            say(out, &format!("{}: {}", file.path.display(), file.difference()))?;
        }
        if !late.is_empty() {
            say(out, "Bring them up to date: landfall secrets updatekeys")?;
            return Ok(Exit::Failed);
        }
        say(out, "Every file has the recipients of its rule.")?;
        return Ok(Exit::Done);
    }
    let settings = EditSettings { allow_dirty: args.change.allow_dirty, ..EditSettings::default() };
    let change = plan_update(&repo.dir, &config_of(repo), &files, &settings, &operator())?;
    write(&change, &args.change, at, repo, out)?;
    Ok(Exit::Done)
}

fn verify_command(
    args: &VerifyArgs,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    let Some(host) = &args.host else {
        let opened = verify::all(&repo.dir, &config_of(repo), &operator())?;
        say(
            out,
            &format!(
                "{opened} file(s): recipients as their rules say, every value and MAC checked."
            ),
        )?;
        return Ok(Exit::Done);
    };
    let needs = needs(host, at, repo)?;
    if let Some(key) = &args.key {
        let identity = keys::identity(key)?;
        // A key that nobody is known by is tried.
        let known = recipient_of(&repo.dir, &config_of(repo), host)?;
        let known = known.filter(|known| known == identity.recipient().as_str());
        remove::of_host(&identity.recipient(), known.as_deref(), host, repo, key)?;
        for proof in proof::prove(&identity, &needs)? {
            let by =
                if proof.by_sops { "opened by landfall and by sops" } else { "opened by landfall" };
            say(out, &format!("{}: {by} ({})", proof.file.display(), proof.names.join(", ")))?;
        }
        return Ok(Exit::Done);
    }
    let files: Vec<PathBuf> = needs.iter().map(|need| need.file.clone()).collect();
    let checked = verify::by_recipients(&repo.dir, &config_of(repo), host, &files)?;
    say(
        out,
        &format!(
            "{checked} file(s) are encrypted to {host}, by their recipients. With its private key (--key FILE) they are opened too."
        ),
    )?;
    Ok(Exit::Done)
}

fn say(out: &mut dyn Write, line: &str) -> Result<(), StepError> {
    if line.is_empty() {
        return Ok(());
    }
    writeln!(out, "{line}").map_err(|error| {
        StepError::new("the output could not be written", error.to_string(), "Is the output open?")
    })
}
