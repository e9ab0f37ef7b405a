//! Where a repository is pushed to: the upstream of its branch, or the branch that
//! the user named.

use crate::config::Push;
use crate::error::{Exit, StepError};
use crate::git::Repo;

/// The place of pushes of one repository.
pub struct Destination {
    repo: Repo,
    remote: String,
    branch: String,
}

impl Destination {
    pub fn of(repo: &Repo, push: &Push) -> Result<Self, StepError> {
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

    /// A push that would be rejected is found by trying; a refusing hook only by pushing.
    pub fn check(&self) -> Result<(), StepError> {
        self.repo.fetch(&self.remote)?;
        let tip = format!("refs/remotes/{}/{}", self.remote, self.branch);
        if let Ok(tip) = self.repo.rev(&tip)
            && !self.repo.is_ancestor(&tip, "HEAD")?
        {
            return Err(StepError::new(
                format!("the remote of {} is ahead", self.repo.root().display()),
                format!("{}/{} has commits that are not here", self.remote, self.branch),
                format!(
                    "Take them over first: git -C {} pull --ff-only",
                    self.repo.root().display()
                ),
            ));
        }
        Ok(self.repo.can_push(&self.remote, &self.branch)?)
    }

    pub fn push(&self) -> Result<(), StepError> {
        Ok(self.repo.push(&self.remote, &self.branch)?)
    }

    pub fn has(&self, revision: &str) -> Result<bool, StepError> {
        Ok(self.repo.remote_has(&self.remote, &self.branch, revision)?)
    }

    pub fn url(&self) -> Result<String, StepError> {
        Ok(self.repo.remote_url(&self.remote)?)
    }
}

/// The URL of the repository's remote; none where it has none.
pub fn url(repo: &Repo) -> Result<Option<String>, StepError> {
    Ok(match repo.remote()? {
        Some(remote) => Some(repo.remote_url(&remote)?),
        None => None,
    })
}

fn nowhere(repo: &Repo) -> StepError {
    StepError::new(
        format!("{} has nowhere to push to", repo.root().display()),
        "there is no remote, or no branch is checked out",
        "Set one: git push -u origin main. --no-push leaves remotes alone.",
    )
    .exit(Exit::Usage)
}
