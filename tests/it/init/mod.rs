//! `landfall init` with the real git, sops, ssh-keygen, libcrypt and nix, in a home of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use assert_cmd::assert::Assert;
use tempfile::TempDir;

mod add_host;
mod evaluation;
mod repositories;

const PASSWORD: &str = "kanarienvogel im bergwerk";
const FLAGS: [&str; 6] = ["src", "--yes", "--host", "ray", "--user", "anna"];

struct Home {
    root: TempDir,
}

impl Home {
    /// A home of somebody who uses git and SSH and has never heard of sops.
    fn new() -> Self {
        let home = Self { root: tempfile::tempdir().unwrap() };
        fs::write(home.path(".gitconfig"), "[user]\nname = Anna\nemail = anna@example.org\n")
            .unwrap();
        fs::create_dir(home.path(".ssh")).unwrap();
        let key = home.path(".ssh/id_ed25519");
        read(home.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key));
        fs::write(home.path("password"), format!("{PASSWORD}\n")).unwrap();
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// A process that sees this home and nothing else of the caller's environment.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path())
            .current_dir(self.root.path());
        command
    }

    fn init(&self, args: &[&str]) -> Assert {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("landfall"));
        command.arg("init").args(args);
        assert_cmd::Command::from_std(command).assert()
    }

    fn git(&self, repo: &str, args: &[&str]) -> String {
        read(self.command("git").arg("-C").arg(self.path(repo)).args(args))
    }

    fn secret(&self, key: &str) -> String {
        let file = self.path("src/nix-secrets/sops/ray.yaml");
        read(self.command("sops").args(["decrypt", "--extract", key]).arg(file))
    }

    fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn read(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
}
