//! A git forge on loopback: a real sshd that only git may use, with bare repositories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::sshd::{Sshd, free_port};
use crate::process::{output, quiet};

/// A hook that refuses every push, as a forge with a protected branch would.
const REFUSING_HOOK: &str = "#!/bin/sh\necho 'this branch is protected' >&2\nexit 1\n";

/// A running forge; dropping it ends the server.
pub(crate) struct Forge {
    dir: PathBuf,
    server: Sshd,
}

impl Forge {
    /// Starts a forge whose files lie in `dir` and which lets the holders of `keys` (public
    /// keys, one a line) in.
    pub(crate) fn start(dir: &Path, keys: &str) -> Result<Forge> {
        let git_programs = output(Command::new("git").arg("--exec-path"))?;
        let more = format!(
            "DisableForwarding yes\nPermitTTY no\n\
             ForceCommand {}/git-shell -c \"$SSH_ORIGINAL_COMMAND\"",
            git_programs.trim()
        );
        let server = Sshd::start(dir, free_port()?, keys, &more)?;
        Ok(Forge { dir: dir.to_path_buf(), server })
    }

    /// Makes an empty bare repository and returns its URL.
    pub(crate) fn repository(&self, name: &str) -> Result<String> {
        let bare = self.bare(name);
        quiet(Command::new("git").args(["init", "--quiet", "--bare", "-b", "main"]).arg(&bare))?;
        let user = output(Command::new("id").arg("-un"))?;
        Ok(format!("ssh://{}@127.0.0.1:{}{}", user.trim(), self.server.port(), bare.display()))
    }

    /// Makes a hook refuse pushes to this repository from now on.
    pub(crate) fn refuse_pushes(&self, name: &str) -> Result<()> {
        let hook = self.bare(name).join("hooks/pre-receive");
        fs::create_dir_all(self.bare(name).join("hooks"))?;
        fs::write(&hook, REFUSING_HOOK)?;
        Ok(fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?)
    }

    /// Returns the commit of a repository's main branch.
    pub(crate) fn head(&self, name: &str) -> Result<String> {
        let git_dir = format!("--git-dir={}", self.bare(name).display());
        let commit = output(Command::new("git").args([&git_dir, "rev-parse", "refs/heads/main"]))?;
        Ok(commit.trim().to_string())
    }

    /// Returns the line of a known_hosts file that names this forge.
    pub(crate) fn known_hosts_line(&self) -> Result<String> {
        self.server.known_hosts_line()
    }

    fn bare(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.git"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temp_dir::TempDir;

    /// Makes a client's key, a clone with one commit, and the ssh command that knows the forge.
    fn client(dir: &Path, forge_dir: &Path) -> Result<(Forge, PathBuf, String)> {
        let key = dir.join("id");
        quiet(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
        let forge = Forge::start(forge_dir, &fs::read_to_string(dir.join("id.pub"))?)?;
        fs::write(dir.join("known_hosts"), forge.known_hosts_line()?)?;
        let ssh = format!(
            "ssh -F none -i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes",
            key.display(),
            dir.join("known_hosts").display()
        );
        let clone = dir.join("clone");
        quiet(Command::new("git").args(["init", "-q", "-b", "main"]).arg(&clone))?;
        let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let commit = ["commit", "-q", "--allow-empty", "-m", "first"];
        quiet(Command::new("git").arg("-C").arg(&clone).args(author).args(commit))?;
        Ok((forge, clone, ssh))
    }

    fn push(clone: &Path, url: &str, ssh: &str) -> Result<()> {
        let mut git = Command::new("git");
        git.arg("-C").arg(clone).args(["push", "-q", url, "main"]);
        quiet(git.env("GIT_SSH_COMMAND", ssh))
    }

    #[test]
    fn pushes_arrive_and_a_refusing_hook_stops_them() -> Result<()> {
        let scratch = TempDir::new("forge")?;
        let (forge, clone, ssh) = client(scratch.path(), &scratch.path().join("forge"))?;
        let url = forge.repository("config")?;
        push(&clone, &url, &ssh)?;
        let head = output(Command::new("git").arg("-C").arg(&clone).args(["rev-parse", "HEAD"]))?;
        assert_eq!(forge.head("config")?, head.trim());

        let url = forge.repository("protected")?;
        forge.refuse_pushes("protected")?;
        let error = push(&clone, &url, &ssh).expect_err("the hook must refuse").to_string();
        assert!(error.contains("this branch is protected"), "{error}");
        Ok(())
    }

    #[test]
    fn only_git_and_only_the_right_key_get_in() -> Result<()> {
        let scratch = TempDir::new("forge")?;
        let (forge, clone, ssh) = client(scratch.path(), &scratch.path().join("forge"))?;
        let url = forge.repository("config")?;
        let words: Vec<&str> = ssh.split(' ').skip(1).collect();
        let port = forge.server.port().to_string();
        let mut shell = Command::new("ssh");
        shell.args(&words).args(["-p", &port, "127.0.0.1", "id"]);
        let error = quiet(&mut shell).expect_err("a shell must be refused").to_string();
        assert!(error.contains("unrecognized command"), "{error}");

        let stranger = scratch.path().join("stranger");
        quiet(
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&stranger),
        )?;
        let ssh = ssh.replace(
            &scratch.path().join("id").display().to_string(),
            &stranger.display().to_string(),
        );
        let ssh = format!("{ssh} -o IdentitiesOnly=yes");
        let error = push(&clone, &url, &ssh).expect_err("a stranger must be refused").to_string();
        assert!(error.contains("Permission denied"), "{error}");
        Ok(())
    }
}
