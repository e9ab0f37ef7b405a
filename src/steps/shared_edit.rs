//! Where a repository is pushed to, and how commits get there while others work on it.
//!
//! An edit that is shared is never made on what is checked out: it is made on the
//! newest commit there is, in a private working tree, committed and pushed from
//! there, and made again when somebody pushed in between. So ciphertext is never
//! merged, and what a person has in the working tree stays as it is. Afterwards the
//! checkout follows, where that takes nothing away from anybody.

use std::path::{Path, PathBuf};

use super::context::Context;
use crate::config::Push;
use crate::error::{Exit, StepError};
use crate::git::{AheadBehind, GitError, Repo, Standing, Worktree};
use crate::steps::hardware::HardwareOutput;
use crate::steps::secrets::SecretsOutput;

/// How often somebody may push in between.
const ATTEMPTS: usize = 5;

/// The place of pushes of one repository.
pub(crate) struct Destination {
    repo: Repo,
    pub(crate) remote: String,
    pub(crate) branch: String,
}

impl Destination {
    pub(crate) fn of(repo: &Repo, push: &Push) -> Result<Self, StepError> {
        let (Some(remote), Some(current)) = (repo.remote()?, repo.branch()?) else {
            return Err(nowhere(repo));
        };
        let branch = match push {
            Push::Branch(name) => name.clone(),
            Push::Upstream | Push::No => match repo.upstream()? {
                Some(upstream) => upstream.branch,
                None => current,
            },
        };
        Ok(Self { repo: repo.clone(), remote, branch })
    }

    /// The newest commit of the branch; none before its first push.
    pub(crate) fn tip(&self) -> Result<Option<String>, StepError> {
        Ok(self.repo.remote_tip(&self.remote, &self.branch)?)
    }

    pub(crate) fn has(&self, revision: &str) -> Result<bool, StepError> {
        Ok(self.repo.remote_has(&self.remote, &self.branch, revision)?)
    }

    pub(crate) fn url(&self) -> Result<String, StepError> {
        Ok(self.repo.remote_url(&self.remote)?)
    }
}

/// A repository that is edited and pushed.
pub(crate) struct SharedRepo<'a> {
    repo: Repo,
    push: &'a Push,
    /// Private, for working trees.
    dir: &'a Path,
    /// The paths that local commits of this run may have changed.
    own: Box<dyn Fn(&Path) -> bool + 'a>,
    /// What is done later rests on the checkout.
    must_follow: bool,
}

/// What is committed of a working tree, from its root.
pub(crate) struct Edit {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) message: String,
}

/// A commit that holds an edit.
pub(crate) struct Published {
    pub(crate) revision: String,
    /// The remote had commits that the checkout had not.
    pub(crate) moved_on: bool,
    /// Why the checkout did not follow.
    pub(crate) left: Option<String>,
}

impl<'a> SharedRepo<'a> {
    pub(crate) fn of(cx: &'a Context, repo: &Path) -> Result<Self, StepError> {
        Self::at(repo, &cx.config.push, &cx.dir)
    }

    pub(crate) fn at(repo: &Path, push: &'a Push, dir: &'a Path) -> Result<Self, StepError> {
        let own = Box::new(|_: &Path| false);
        Ok(Self { repo: Repo::open(repo)?, push, dir, own, must_follow: *push == Push::No })
    }

    /// Lets local commits that changed nothing but these paths stand beside the remote's.
    #[must_use]
    pub(crate) fn with_own(self, own: impl Fn(&Path) -> bool + 'a) -> Self {
        Self { own: Box::new(own), ..self }
    }

    /// Makes it an error that the checkout cannot be brought to the edit.
    #[must_use]
    pub(crate) fn must_follow(self) -> Self {
        Self { must_follow: true, ..self }
    }

    pub(crate) fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The branch that is pushed to; none where nothing is pushed.
    pub(crate) fn branch(&self) -> Result<Option<String>, StepError> {
        Ok(match self.push {
            Push::No => None,
            push => Some(Destination::of(&self.repo, push)?.branch),
        })
    }

    /// The commit that an edit is made on: the remote's newest, or what is checked out
    /// where that is further.
    pub(crate) fn base(&self) -> Result<String, StepError> {
        let head = self.repo.head()?;
        if *self.push == Push::No {
            return Ok(head);
        }
        let destination = Destination::of(&self.repo, self.push)?;
        let Some(tip) = destination.tip()? else { return Ok(head) };
        match self.repo.standing(&head, &tip)? {
            Standing::Even | Standing::Ahead => Ok(head),
            Standing::Behind(_) => Ok(tip),
            Standing::Diverged(_) if self.is_own(&head, &tip)? => Ok(tip),
            Standing::Diverged(counts) => Err(diverged(&destination, counts)),
        }
    }

    /// Whether the commits that are here and not in the remote are this run's.
    fn is_own(&self, head: &str, tip: &str) -> Result<bool, StepError> {
        let Some(fork) = self.repo.merge_base(head, tip)? else { return Ok(false) };
        Ok(self.repo.changed(&fork, head)?.iter().all(|path| (self.own)(path)))
    }

    /// What `look` finds in a private working tree of `revision`, by its root.
    pub(crate) fn look<T>(
        &self,
        revision: &str,
        look: impl FnOnce(&Path) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let tree = self.repo.worktree(revision, self.dir)?;
        look(tree.path()).map_err(|error| self.relocated(error, &tree))
    }

    /// The error with the names that a person knows in place of the private tree's.
    fn relocated(&self, mut error: StepError, tree: &Worktree) -> StepError {
        let (from, to) = (tree.path().display().to_string(), self.repo.root().display());
        let renamed = |text: &str| text.replace(&from, &to.to_string());
        for text in [&mut error.what, &mut error.why, &mut error.hint] {
            *text = renamed(text);
        }
        error
    }

    /// Whether the remote holds `revision`, or need not.
    pub(crate) fn is_published(&self, revision: &str) -> Result<bool, StepError> {
        match self.push {
            Push::No => Ok(true),
            push => Destination::of(&self.repo, push)?.has(revision),
        }
    }

    /// Finds early what would keep an edit from being pushed; a refusing hook is found
    /// only by pushing.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        if *self.push == Push::No {
            return Ok(());
        }
        let base = self.base()?;
        let destination = Destination::of(&self.repo, self.push)?;
        Ok(self.repo.can_push(&base, &destination.remote, &destination.branch)?)
    }

    /// Makes an edit, commits and pushes it; made again when somebody pushed in between.
    /// `make` gets the root of a working tree; when it has nothing to change there, that
    /// tree's commit is what is pushed.
    pub(crate) fn edit(
        &self,
        mut make: impl FnMut(&Path) -> Result<Option<Edit>, StepError>,
    ) -> Result<Published, StepError> {
        for _ in 0..ATTEMPTS {
            let base = self.base()?;
            let tree = self.repo.worktree(&base, self.dir)?;
            let made = make(tree.path()).map_err(|error| self.relocated(error, &tree))?;
            let in_tree = tree.repo();
            let revision = match made {
                Some(Edit { paths, message }) => {
                    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
                    in_tree.commit_paths(&paths, &message)?
                }
                None => base.clone(),
            };
            if !self.is_published(&revision)? {
                let Destination { remote, branch, .. } = Destination::of(&self.repo, self.push)?;
                match in_tree.push(&remote, &branch) {
                    Err(GitError::Behind { .. }) => continue,
                    pushed => pushed?,
                }
            }
            let moved_on = !self.repo.is_ancestor(&base, "HEAD")?;
            return match self.follow(&revision)? {
                Some(why) if self.must_follow => Err(self.not_taken_over(&revision, &why)),
                left => Ok(Published { revision, moved_on, left }),
            };
        }
        Err(StepError::new(
            format!("{} could not be pushed", self.repo.root().display()),
            format!("{ATTEMPTS} times somebody else pushed in between"),
            "Run the same command again when it is quieter there.",
        ))
    }

    /// Brings the checkout to `revision`, or says why it stays where it is.
    fn follow(&self, revision: &str) -> Result<Option<String>, StepError> {
        match self.obstacle(revision)? {
            None => Ok(self.repo.fast_forward(revision).err().map(|error| error.to_string())),
            obstacle => Ok(obstacle),
        }
    }

    fn not_taken_over(&self, revision: &str, why: &str) -> StepError {
        let dir = self.repo.root().display();
        StepError::new(
            format!("{dir} cannot take over the commit {}", crate::git::short(revision)),
            why.to_owned(),
            "Commit those changes, or put them away with git stash -u; then run the same command \
             again.",
        )
    }

    /// Whether the checkout has `revision`, or cannot be brought to it.
    pub(crate) fn has_followed(&self, revision: &str) -> Result<bool, StepError> {
        let has = self.repo.is_ancestor(revision, "HEAD")?;
        Ok(has || !self.must_follow && self.obstacle(revision)?.is_some())
    }

    fn obstacle(&self, revision: &str) -> Result<Option<String>, StepError> {
        if self.repo.is_ancestor(revision, "HEAD")? {
            return Ok(None);
        }
        if !self.repo.is_ancestor("HEAD", revision)? {
            return Ok(Some("it has commits of its own".into()));
        }
        let dirty = !self.repo.dirty()?.is_empty();
        Ok(dirty.then(|| "it has changes that are not committed".into()))
    }
}

impl Published {
    /// Tells what a person would not expect.
    pub(crate) fn tell(&self, cx: &Context, repo: &Repo) {
        let dir = repo.root().display();
        if self.moved_on {
            cx.events.note(format!("others had pushed to {dir}: the edit was made on theirs"));
        }
        if let Some(why) = &self.left {
            cx.events.warn(format!(
                "the checkout {dir} stays as it is, since {why}; the remote has the edit in {}. \
                 Take it over: git -C {dir} pull --rebase",
                crate::git::short(&self.revision)
            ));
        }
    }
}

/// What is left to a person whose run pushes nothing, as commands; empty when there is
/// nothing to push.
pub(crate) fn left_to_push(cx: &Context) -> Result<Vec<String>, StepError> {
    let mut commands = Vec::new();
    let Some(host) = cx.config.host_system() else { return Ok(commands) };
    let config = host.dir.display();
    let unpushed = |dir: &Path, revision: Option<String>| -> Result<bool, StepError> {
        let Some(revision) = revision else { return Ok(false) };
        Ok(!Repo::open(dir)?.is_ancestor(&revision, "@{upstream}")?)
    };
    let secrets_at = cx.finished_output::<SecretsOutput>()?.map(|output| output.revision);
    let config_at = cx.finished_output::<HardwareOutput>()?.and_then(|output| output.revision);
    if let Some(secrets) = &cx.config.secrets
        && let Some(input) = &secrets.input
        && unpushed(&secrets.dir, secrets_at)?
    {
        commands.push(format!("git -C {} push", secrets.dir.display()));
        commands.push(format!("nix flake update {input} --flake {config}"));
        commands.push(format!("git -C {config} commit -m 'Lock the secrets' -- flake.lock"));
    }
    if !commands.is_empty() || unpushed(&host.dir, config_at)? {
        commands.push(format!("git -C {config} push"));
    }
    Ok(commands)
}

/// The URL of the repository's remote; none where it has none.
pub(crate) fn url(repo: &Repo) -> Result<Option<String>, StepError> {
    Ok(match repo.remote()? {
        Some(remote) => Some(repo.remote_url(&remote)?),
        None => None,
    })
}

fn diverged(destination: &Destination, counts: AheadBehind) -> StepError {
    let dir = destination.repo.root().display();
    let Destination { remote, branch, .. } = destination;
    let AheadBehind { ahead, behind } = counts;
    StepError::new(
        format!("{dir} and its remote have diverged"),
        format!("{ahead} commits are only here, {behind} only in {remote}/{branch}"),
        format!(
            "Bring yours onto the remote's: git -C {dir} pull --rebase {remote} {branch}. Where both \
             sides changed an encrypted file, take the remote's and make your change again with sops."
        ),
    )
}

fn nowhere(repo: &Repo) -> StepError {
    StepError::new(
        format!("{} has nowhere to push to", repo.root().display()),
        "there is no remote, or no branch is checked out",
        "Set one: git push -u origin main. --no-push leaves remotes alone.",
    )
    .exit(Exit::Usage)
}

/// Refuses changes that are not committed, but for those that are `expected`.
pub(crate) fn require_clean(
    repo: &Repo,
    expected: impl Fn(&Path) -> bool,
) -> Result<(), StepError> {
    let dirty = repo.dirty()?.into_iter().filter(|path| !expected(path));
    let list: Vec<String> = dirty.map(|path| path.display().to_string()).collect();
    if list.is_empty() {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} has changes that are not committed", repo.root().display()),
        list.join("\n"),
        "Commit them, or put them away with git stash -u.",
    )
    .exit(Exit::Usage))
}
