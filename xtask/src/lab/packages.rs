//! The packages of the distribution that the lab needs, named before they are installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{in_path, output, quiet};

/// A package of the distribution, and what shows that it is there.
pub(crate) struct Package {
    /// A file of it by its whole path, or a program by its name, wherever that is in `PATH`.
    pub(crate) file: &'static str,
    /// Its name in Debian.
    pub(crate) name: &'static str,
}

/// What every part of the lab needs.
pub(crate) const NEEDED: [Package; 16] = [
    Package { file: "/usr/bin/qemu-system-x86_64", name: "qemu-system-x86" },
    Package { file: "/usr/bin/qemu-img", name: "qemu-utils" },
    Package { file: "/usr/share/OVMF/OVMF_CODE_4M.fd", name: "ovmf" },
    Package { file: "/usr/bin/patchelf", name: "patchelf" },
    Package { file: "/usr/bin/xz", name: "xz-utils" },
    Package { file: "/usr/bin/unzip", name: "unzip" },
    Package { file: "/usr/bin/ssh", name: "openssh-client" },
    Package { file: "/usr/sbin/sshd", name: "openssh-server" },
    Package { file: "/usr/bin/rsync", name: "rsync" },
    Package { file: "/usr/bin/jq", name: "jq" },
    Package { file: "/usr/bin/strace", name: "strace" },
    Package { file: "/usr/bin/sudo", name: "sudo" },
    Package { file: "/usr/bin/doas", name: "opendoas" },
    Package { file: "/usr/sbin/cryptsetup", name: "cryptsetup-bin" },
    Package { file: "git", name: "git" },
    Package { file: "pip", name: "python3-pip" },
];

impl Package {
    fn is_installed(&self) -> bool {
        match self.file.starts_with('/') {
            true => Path::new(self.file).exists(),
            false => in_path(self.file),
        }
    }
}

/// Installs what is missing, after saying what that is.
pub(crate) fn ensure(needed: &[Package]) -> Result<()> {
    let missing = needed.iter().filter(|package| !package.is_installed());
    let missing: Vec<&str> = missing.map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = may_install(&missing)?;
    install(root, missing)
}

/// Says whether this is root's process; fails where nothing can be installed.
fn may_install(missing: &[&str]) -> Result<bool> {
    let list = missing.join(" ");
    if !in_path("apt-get") {
        bail!(
            "these programs are missing, by their Debian names: {list}\ninstall them and run this again"
        );
    }
    let root = rustix::process::geteuid().is_root();
    if !root && !in_path("sudo") {
        bail!(
            "these packages are missing: {list}\nrun `apt-get install {list}` as root, then this again"
        );
    }
    Ok(root)
}

/// Installs packages, unless others would be lost by it.
fn install(root: bool, missing: Vec<&str>) -> Result<()> {
    let list = missing.join(" ");
    println!("installing with apt: {list}");
    quiet(apt(root).arg("update"))?;
    let replaced = removed(root, &missing)?;
    if !replaced.is_empty() {
        let names = replaced.join(" ");
        println!("these do not go with them and become the distribution's own: {names}");
    }
    // The newest would be the one that is there.
    let release = release();
    let own: Vec<String> = replaced.iter().map(|name| format!("{name}/{release}")).collect();
    let all: Vec<&str> = missing.into_iter().chain(own.iter().map(String::as_str)).collect();
    let lost = removed(root, &all)?;
    if !lost.is_empty() {
        bail!(
            "apt would have to remove {}\nnothing was installed; make room for {list} by hand",
            lost.join(" ")
        );
    }
    quiet(apt(root).args(INSTALL).args(&all))
}

/// How apt installs: a package that somebody built newer may make way for the distribution's
/// own, and none may be lost.
const INSTALL: [&str; 4] = ["install", "--yes", "--no-install-recommends", "--allow-downgrades"];

/// Returns the release of the distribution, as apt names it.
fn release() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("stable").trim_matches('"').to_string()
}

/// Lists the packages that apt would remove to install others.
fn removed(root: bool, packages: &[&str]) -> Result<Vec<String>> {
    let plan = output(apt(root).arg("--simulate").args(INSTALL).args(packages))?;
    let removals = plan.lines().filter_map(|line| line.strip_prefix("Remv "));
    Ok(removals.filter_map(|line| line.split(' ').next().map(str::to_string)).collect())
}

/// Prepares apt-get as root; a service that a package brings is not started by it.
fn apt(root: bool) -> Command {
    let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-q"];
    if !root {
        words.insert(0, "sudo");
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
