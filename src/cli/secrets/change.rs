//! A change on its way to the disk: shown, confirmed, written, and what is left to do.

use std::io::Write;
use std::path::Path;

use super::ChangeArgs;
use super::{Surroundings, say};
use crate::config::SecretsRepo;
use crate::error::StepError;
use crate::sops::change;
use crate::sops::change::{Change, Grants, SopsError};
use crate::ssh::quote;
use crate::ui::prompt::Question;

/// A command with more paths than this cannot be read.
const MOST_PATHS: usize = 8;

/// Shows a change, asks, writes it, and says how to commit it: committing is the user's,
/// who may have more to say in the same commit. Returns whether it was written.
pub(crate) fn write(
    change: &Change,
    args: &ChangeArgs,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<bool, StepError> {
    if change.is_empty() {
        if !args.dry_run {
            // What an interrupted run left over goes all the same.
            change::commit(change, &Grants::default())?;
        }
        say(out, "Nothing to do: everything is as it should be.")?;
        return Ok(false);
    }
    show(change, repo, out)?;
    if args.dry_run {
        return Ok(false);
    }
    let Some(grants) = granted(change, args, at)? else {
        say(out, "Nothing was written.")?;
        return Ok(false);
    };
    let question = Question::new("Write this?", "--yes").answered_by_yes();
    if !args.yes && !at.prompter.confirm(&question)? {
        say(out, "Nothing was written.")?;
        return Ok(false);
    }
    let written = change::commit(change, &grants)?;
    let paths: Vec<String> = written.paths.iter().map(|path| below(path, repo)).collect();
    let next = how_to_commit(repo, &paths, !change.renames.is_empty());
    say(out, &format!("Written, not committed yet: {next}"))?;
    Ok(true)
}

/// What may be gained, by flag or by a person's answer; none when it is declined.
fn granted(
    change: &Change,
    args: &ChangeArgs,
    at: &Surroundings<'_>,
) -> Result<Option<Grants>, StepError> {
    let grants = Grants::of(args.grant.iter().cloned());
    let missing = grants.missing(change.gains()?);
    if missing.is_empty() {
        return Ok(Some(grants));
    }
    if args.yes || !at.prompter.is_interactive() {
        return Err(SopsError::Ungranted(missing).into());
    }
    let question = Question::new("Let these recipients open these files?", "--grant RECIPIENT")
        .details(missing.iter().map(ToString::to_string));
    Ok(at.prompter.confirm(&question)?.then(|| grants.and(missing)))
}

/// The command that commits these paths and nothing else.
fn how_to_commit(repo: &SecretsRepo, paths: &[String], renamed: bool) -> String {
    let git = format!("git -C {}", quote(&repo.dir.to_string_lossy()));
    if paths.len() > MOST_PATHS {
        return format!("{git} status shows the {} files", paths.len());
    }
    let paths = paths.iter().map(|path| quote(path)).collect::<Vec<_>>().join(" ");
    // git does not know the new name of a file yet.
    let add = if renamed { format!("{git} add -A -- {paths} && ") } else { String::new() };
    format!("{add}{git} commit -m MESSAGE -- {paths}")
}

/// The diff of the rules, the files, and what should be known before.
pub(crate) fn show(
    change: &Change,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<(), StepError> {
    say(out, change.diff.trim_end())?;
    for file in change.files() {
        say(out, &format!("re-encrypted: {}", below(file, repo)))?;
    }
    for rename in &change.renames {
        let (from, to) = (below(&rename.from, repo), below(&rename.to, repo));
        say(out, &format!("renamed: {from} -> {to} (the configuration must say the new name)"))?;
    }
    for gain in change.gains()? {
        say(out, &format!("gains access: {gain}"))?;
    }
    for warning in &change.warnings {
        say(out, &format!("warning: {warning}"))?;
    }
    Ok(())
}

fn below(path: &Path, repo: &SecretsRepo) -> String {
    let dir = repo.dir.canonicalize().unwrap_or_else(|_| repo.dir.clone());
    let below = path.strip_prefix(&repo.dir).or_else(|_| path.strip_prefix(&dir));
    below.unwrap_or(path).display().to_string()
}
