//! Step 13: the repositories go into the user's home, from the source, without a
//! credential on the target. What git does not track stays where it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::shared_edit;
use crate::error::StepError;
use crate::git::Repo;
use crate::git::short;
use crate::run::facts::StepFacts;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::target::Phase;
use crate::ui::prompt::Question;

pub(crate) struct Repos;

/// The commit that is checked out in each folder below the user's home.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ReposOutput(BTreeMap<String, String>);

impl StepFacts for ReposOutput {
    const STEP: StepId = StepId::Repos;
}

/// Long histories over slow lines.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Arguments: folder below the home, branch, remote URL (or nothing), revision;
/// standard input is a git bundle. An existing checkout only moves forward.
const RECEIVE: &str = r#"
set -eu
dir=$HOME/$1 branch=$2 url=$3 revision=$4
bundle=$(mktemp)
trap 'rm -f "$bundle"' EXIT
cat > "$bundle"
if [ -e "$dir/.git" ]; then
  git -C "$dir" fetch --quiet "$bundle" "$branch"
  if git -C "$dir" merge-base --is-ancestor FETCH_HEAD HEAD; then
    [ "$(git -C "$dir" rev-parse HEAD)" = "$revision" ] || echo "it is ahead of what is copied" >&2
  else
    git -C "$dir" merge --quiet --ff-only FETCH_HEAD
  fi
else
  mkdir -p "$(dirname "$dir")"
  partial=$dir.landfall-partial
  rm -rf "$partial"
  git clone --quiet --branch "$branch" "$bundle" "$partial"
  git -C "$partial" remote remove origin
  if [ -n "$url" ]; then
    git -C "$partial" remote add origin "$url"
    git -C "$partial" update-ref "refs/remotes/origin/$branch" "$revision"
    git -C "$partial" branch --quiet --set-upstream-to "origin/$branch"
  fi
  mv "$partial" "$dir"
fi
[ "$(git -C "$dir" rev-parse HEAD)" = "$revision" ]
"#;

impl Step for Repos {
    fn id(&self) -> StepId {
        StepId::Repos
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Target,
            change: "copies the repositories into the user's home",
            reversible: true,
        }]
    }

    fn disposition(&self, cx: &Context) -> Result<Disposition, StepError> {
        if !cx.config.copy_repos {
            return Ok(Disposition::no_use("left out by --no-repos"));
        }
        Ok(match lost(cx)? {
            Some(place) => Disposition::no_use(format!(
                "--no-repos by default: ~/{place} would be lost at a boot"
            )),
            None => Disposition::Run,
        })
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        let names: Vec<String> = dirs(cx).iter().map(|dir| dir.display().to_string()).collect();
        let question = Question::new("Copy the repositories to the new machine?", "--no-repos")
            .detail(names.join(", "))
            .answered_by_yes();
        Ok(match cx.prompter.confirm(&question)? {
            true => Disposition::Run,
            false => Disposition::declined("declined; clone them there when you need them"),
        })
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if cx.connection.phase != Phase::Installed {
            return Ok(Status::Ready);
        }
        let mut output = ReposOutput::default();
        let mut places = Vec::new();
        for dir in dirs(cx) {
            let head = Repo::open(&dir)?.head()?;
            let place = place(cx, &dir);
            let argv = ["git", "-C", place.as_str(), "rev-parse", "HEAD"];
            let there = cx.target()?.session.run(&argv).output()?;
            if there.text() != head {
                return Ok(Status::Ready);
            }
            places.push(format!("~/{place} {}", short(&head)));
            output.0.insert(place, head);
        }
        Ok(Status::Done(Evidence::of(places.join(", "), &output)?))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        for dir in dirs(cx) {
            let repo = Repo::open(&dir)?;
            let branch = repo.branch()?.unwrap_or("HEAD".into());
            let url = shared_edit::url(&repo)?.unwrap_or_default();
            let place = place(cx, &dir);
            let bundle = cx.dir.join("bundle");
            repo.bundle(&bundle, &["HEAD", &branch])?;
            let args = [place.as_str(), &branch, &url, &repo.head()?];
            cx.target()?
                .session
                .script_with_stdin(RECEIVE, &args)
                .stdin_file(&bundle)
                .deadline(TRANSFER_DEADLINE)
                .run()
                .map_err(|error| {
                    let mut error = StepError::from(error)
                        .doing(format!("{} could not be copied to ~/{place}", dir.display()));
                    error.hint = "The checkout there must be of the same repository, and have no \
                                  commits or changes that are not here: push or drop them there, \
                                  pull here, or move it away; then run the same command again."
                        .into();
                    error
                })?;
        }
        Ok(())
    }
}

/// Whether the repositories are copied; where not, why.
pub(crate) fn copied(cx: &Context) -> Result<bool, StepError> {
    Ok(cx.config.copy_repos && lost(cx)?.is_none())
}

/// The first place of a repository that does not outlast a boot.
fn lost(cx: &Context) -> Result<Option<String>, StepError> {
    let full = &cx.facts()?.full;
    let user = cx.primary_user()?;
    let home = full.users.iter().find(|known| known.name == user).map(|known| known.home.as_str());
    let home = home.unwrap_or("/root");
    let mut places = dirs(cx).into_iter().map(|dir| place(cx, &dir));
    Ok(places.find(|place| !full.keeps(&format!("{home}/{place}"))))
}

/// The repositories that go along: the config, and the secrets where they are apart.
pub(crate) fn dirs(cx: &Context) -> Vec<PathBuf> {
    let secrets = cx.config.secrets.as_ref().filter(|secrets| secrets.input.is_some());
    let config = cx.config.host_system().map(|host| host.dir.clone());
    [config, secrets.map(|secrets| secrets.dir.clone())].into_iter().flatten().collect()
}

/// Where a repository goes, below the home: as on the source, where it is in the
/// operator's home; else by its name.
pub(crate) fn place(cx: &Context, dir: &std::path::Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(folder) = &cx.config.repos_dir {
        return folder.join(name).display().to_string();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).and_then(|h| h.canonicalize().ok());
    home.and_then(|home| dir.strip_prefix(home).ok().map(|path| path.display().to_string()))
        .filter(|path| !path.is_empty())
        .unwrap_or(name)
}
