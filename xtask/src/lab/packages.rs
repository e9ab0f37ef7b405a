//! The packages of the distribution that the lab needs, named before they are installed.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{in_path, output, quiet};

/// A file that shows the package is there, and the package.
pub const NEEDED: [(&str, &str); 14] = [
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/bin/qemu-img", "qemu-utils"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/bin/patchelf", "patchelf"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/unzip", "unzip"),
    ("/usr/bin/ssh", "openssh-client"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("/usr/bin/rsync", "rsync"),
    ("/usr/bin/jq", "jq"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/sudo", "sudo"),
    ("/usr/bin/doas", "opendoas"),
    ("/usr/sbin/cryptsetup", "cryptsetup-bin"),
];

/// Programs that are taken from wherever they are.
pub const PROGRAMS: [(&str, &str); 2] = [("git", "git"), ("pip", "python3-pip")];

/// The packages that are not installed.
pub fn missing(
    needed: &[(&'static str, &'static str)],
    programs: &[(&'static str, &'static str)],
) -> Vec<&'static str> {
    let files = needed.iter().filter(|(file, _)| !std::path::Path::new(file).exists());
    let programs = programs.iter().filter(|(program, _)| !in_path(program));
    files.chain(programs).map(|(_, package)| *package).collect()
}

/// Installs what is missing, after saying what that is.
pub fn ensure(
    needed: &[(&'static str, &'static str)],
    programs: &[(&'static str, &'static str)],
) -> Result<()> {
    let missing = missing(needed, programs);
    if missing.is_empty() {
        return Ok(());
    }
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

/// A package that somebody built newer may make way for the distribution's own, and none
/// may be lost.
const INSTALL: [&str; 4] = ["install", "--yes", "--no-install-recommends", "--allow-downgrades"];

/// The release of the distribution, as apt names it.
fn release() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("stable").trim_matches('"').to_string()
}

/// The packages that apt would remove to install others.
fn removed(root: bool, packages: &[&str]) -> Result<Vec<String>> {
    let plan = output(apt(root).arg("--simulate").args(INSTALL).args(packages))?;
    let removals = plan.lines().filter_map(|line| line.strip_prefix("Remv "));
    Ok(removals.filter_map(|line| line.split(' ').next().map(str::to_string)).collect())
}

/// apt-get as root; a service that a package brings is not started by it.
fn apt(root: bool) -> Command {
    let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-q"];
    if !root {
        words.insert(0, "sudo");
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
