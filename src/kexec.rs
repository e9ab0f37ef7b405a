//! Replacing a Linux that runs by the installer, with nobody at its console.
//!
//! The image is a tarball as nixos-images makes it: `kexec/run` loads the kernel
//! beside it, hands over host keys, authorized keys and network settings, and starts
//! it some seconds later. It comes through the source, so the target needs no network
//! of its own, and nothing runs there that was not named or fetched over TLS.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{Config, KexecImage, Sha256Sum};
use crate::context::Context;
use crate::disks::bytes;
use crate::error::{Exit, StepError};
use crate::event::{Event, Progress};
use crate::exec::Cmd;
use crate::journal;
use crate::machine::{Phase, TargetFacts};
use crate::nix::report_to;
use crate::phase;
use crate::ssh::{self, Endpoint, HostKey, Session, SshError};
use crate::step::StepId;
use crate::steps::build::repo_at;

/// Where the installer of this architecture is published.
/// Source: the releases of github.com/nix-community/nixos-images.
pub fn published(system: &str) -> String {
    format!(
        "https://github.com/nix-community/nixos-images/releases/download/nixos-26.05/\
         nixos-kexec-installer-noninteractive-{system}.tar.gz"
    )
}

/// The image that is used, for people.
pub fn named(config: &Config, system: &str) -> String {
    match &config.kexec.image {
        Some(KexecImage::File(path)) => path.display().to_string(),
        Some(KexecImage::Url(name) | KexecImage::Attr(name)) => name.clone(),
        None => published(system),
    }
}

/// The installer in memory, beside its image.
const WORKING_MEMORY: u64 = 512 << 20;
/// Slow lines carry some hundred MiB.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// Unpacking, packing keys, loading the kernel.
const LOAD_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The installer has a large store to unpack before it answers.
const BOOT_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// One try to reach it.
const TRY: Duration = Duration::from_secs(20);
/// Where its SSH server listens, unless told otherwise.
const SSH_PORT: u16 = 22;
/// The fact of an intention to replace the running system.
pub const INTENDED: &str = "kexec";

/// An image on the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub path: PathBuf,
    pub sha256: Sha256Sum,
    pub size: u64,
    /// Where it comes from, for people.
    pub from: String,
}

/// Finds, fetches or builds the image, and looks whether it is one.
pub fn image(cx: &Context) -> Result<Image, StepError> {
    let given = cx.config.kexec.sha256.as_ref();
    let from = cx.config.kexec.image.clone().unwrap_or_else(|| {
        KexecImage::Url(published(
            &cx.target.as_ref().map_or(String::new(), |t| t.facts.system.clone()),
        ))
    });
    let (path, shown) = match &from {
        KexecImage::File(path) => (path.clone(), path.display().to_string()),
        KexecImage::Url(url) => (fetch(url, given)?, url.clone()),
        KexecImage::Attr(attr) => (build(cx, attr)?, attr.clone()),
    };
    check_tarball(&path)?;
    let unreadable = |error: std::io::Error| not_read(&path, &error.to_string());
    let mut file = std::fs::File::open(&path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(unreadable)?;
    let sha256 = Sha256Sum::of(&hash.finalize());
    match given {
        Some(given) if *given != sha256 => Err(StepError::new(
            format!("{shown} is not the kexec image that was meant"),
            format!("its SHA-256 is {}, not {}", sha256.as_str(), given.as_str()),
            "Get the image again, or correct --kexec-sha256 (`kexec_sha256` in landfall.toml).",
        )
        .exit(Exit::Usage)),
        _ => Ok(Image { path, sha256, size, from: shown }),
    }
}

/// Fetches over TLS, or with any protocol what has exactly the given hash.
fn fetch(url: &str, sha256: Option<&Sha256Sum>) -> Result<PathBuf, StepError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fetched {
        store_path: PathBuf,
    }
    if sha256.is_none() && !url.starts_with("https://") {
        return Err(StepError::new(
            format!("{url} is not fetched without a hash"),
            "whoever is on the line could put another system in its place",
            "Give --kexec-sha256 HASH, or an https:// address.",
        )
        .exit(Exit::Usage));
    }
    let mut cmd = Cmd::new("nix")
        .args(["--extra-experimental-features", "nix-command", "store", "prefetch-file", "--json"])
        .args(["--name", "kexec-installer.tar.gz"]);
    if let Some(hash) = sha256 {
        cmd = cmd.args(["--hash-type", "sha256", "--expected-hash", hash.as_str()]);
    }
    let text = cmd.args(["--", url]).deadline(UPLOAD_DEADLINE).read().map_err(|error| {
        let mut error = StepError::from(error).doing(format!("{url} could not be fetched"));
        error.hint = "Is it reachable from here, and the hash right? --kexec FILE takes a file that you have.".into();
        error
    })?;
    let fetched: Fetched = serde_json::from_str(&text)
        .map_err(|error| not_read(Path::new(url), &error.to_string()))?;
    Ok(fetched.store_path)
}

/// Builds an attribute of the config; the tarball may lie in a folder.
fn build(cx: &Context, attr: &str) -> Result<PathBuf, StepError> {
    let head = crate::git::Repo::open(&cx.config.repo)?.head()?;
    let base = repo_at(&cx.config.repo, &head);
    let flake = match &cx.config.installer {
        Some(installer) => crate::scratch::flake_in(&base, &installer.dir),
        None => base,
    };
    let built = cx
        .nix()?
        .build(&[&format!("{flake}#{attr}")], &mut report_to(&cx.events))
        .map_err(|error| StepError::from(error).doing("the kexec image could not be built"))?;
    let path = PathBuf::from(built.first().map(ToString::to_string).unwrap_or_default());
    if !path.is_dir() {
        return Ok(path);
    }
    let entries = std::fs::read_dir(&path).map_err(|error| not_read(&path, &error.to_string()))?;
    let is_tarball = |path: &PathBuf| path.to_string_lossy().contains(".tar");
    let mut found = entries.flatten().map(|entry| entry.path()).filter(is_tarball);
    found.next().ok_or_else(|| not_read(&path, "there is no tarball in it"))
}

/// A tarball of another shape would leave the target without keys, and so out of reach.
fn check_tarball(path: &Path) -> Result<(), StepError> {
    let list = Cmd::new("tar")
        .arg("--list")
        .arg("--file")
        .arg(path)
        .deadline(LOAD_DEADLINE)
        .read()
        .map_err(|error| not_read(path, &error.to_string()))?;
    let has = |name: &str| list.lines().any(|line| line.trim_start_matches("./") == name);
    if has("kexec/run") && has("kexec/kexec") {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} is not a kexec image that landfall can start", path.display()),
        "it has no kexec/run and kexec/kexec, which hand over keys and network",
        "Take a tarball of nixos-images (kexec-installer). The kexecTarball of plain nixpkgs \
         carries no keys: nobody could log in.",
    )
    .exit(Exit::Usage))
}

fn not_read(path: &Path, why: &str) -> StepError {
    StepError::new(
        format!("the kexec image {} cannot be read", path.display()),
        why,
        "Check the path that --kexec or `kexec` in landfall.toml names.",
    )
    .exit(Exit::Usage)
}

/// Prints `name=value` lines about what decides whether a kexec can work. Arguments:
/// KiB that the image needs on disk.
const PREFLIGHT: &str = r#"
kernel() { cat "$1" 2>/dev/null || echo missing; }
printf 'loaded=%s\n' "$(kernel /sys/kernel/kexec_loaded)"
printf 'disabled=%s\n' "$(kernel /proc/sys/kernel/kexec_load_disabled)"
printf 'lockdown=%s\n' "$(sed -n 's/.*\[\(.*\)\].*/\1/p' /sys/kernel/security/lockdown 2>/dev/null)"
if command -v systemd-detect-virt >/dev/null 2>&1; then
  printf 'container=%s\n' "$(systemd-detect-virt --container 2>/dev/null)"
elif [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then
  echo container=yes
fi
for tool in tar gzip cpio ip sha256sum; do
  command -v "$tool" >/dev/null 2>&1 || printf 'missing=%s\n' "$tool"
done
printf 'available_kib=%s\n' "$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)"
for dir in /root /var/tmp /tmp /run; do
  [ -w "$dir" ] || continue
  free=$(df -Pk "$dir" | awk 'NR == 2 {print $4}')
  if [ "${free:-0}" -ge "$1" ]; then printf 'folder=%s\n' "$dir"; break; fi
done
"#;

/// Whether the system on the target can be replaced, and the folder where the image fits.
pub fn preflight(
    session: &Session,
    facts: &TargetFacts,
    image: &Image,
) -> Result<String, StepError> {
    let kib = image.size * 2 / 1024;
    let text = session.root_script(PREFLIGHT, &[&kib.to_string()]).read().map_err(|error| {
        StepError::from(error).doing("whether a kexec can work could not be asked")
    })?;
    judge(&text, facts.memory_bytes, image.size)
}

fn judge(text: &str, memory: u64, image: u64) -> Result<String, StepError> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let refuse = |why: String, hint: &str| {
        Err(StepError::new("the running system cannot be replaced by the installer", why, hint)
            .exit(Exit::Usage))
    };
    let container = value("container");
    if !container.is_empty() && container != "none" {
        return refuse(
            format!("it is a container ({container}), with the kernel of another machine"),
            "Install on the machine itself, or on a virtual machine.",
        );
    }
    if value("loaded") == "missing" {
        return refuse(
            "its kernel was built without kexec".into(),
            "Boot another rescue system, or the image that `landfall iso build` makes.",
        );
    }
    if matches!(value("lockdown"), "integrity" | "confidentiality") {
        return refuse(
            format!("its kernel is locked down ({}), as with Secure Boot", value("lockdown")),
            "Switch Secure Boot off in the firmware, or boot the image that `landfall iso build` makes.",
        );
    }
    if value("disabled") == "1" {
        return refuse(
            "kexec is switched off until the next boot (kernel.kexec_load_disabled)".into(),
            "Reboot it without that setting.",
        );
    }
    let missing: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("missing=")).collect();
    if !missing.is_empty() {
        return refuse(
            format!("it has no {}", missing.join(", no ")),
            "Install what is missing with the package manager of that system.",
        );
    }
    let needed = image * 2 + WORKING_MEMORY;
    if memory < needed {
        return refuse(
            format!("it has {} of memory; the installer needs {}", bytes(memory), bytes(needed)),
            "Give the machine more memory, or boot the image that `landfall iso build` makes.",
        );
    }
    let available = value("available_kib").parse::<u64>().unwrap_or(0) * 1024;
    if available < image + (64 << 20) {
        return refuse(
            format!("only {} of its memory is free", bytes(available)),
            "Stop what runs on it, then run the same command again.",
        );
    }
    match value("folder") {
        "" => refuse(
            format!("no folder of it has room for the image ({})", bytes(image * 2)),
            "Make room in /var/tmp.",
        ),
        folder => Ok(folder.to_owned()),
    }
}

/// Takes the image from standard input into a private folder, and unpacks it when it
/// came whole. Arguments: the folder, the hash.
const RECEIVE: &str = r#"
set -eu
umask 077
dir=$1/landfall-kexec
rm -rf "$dir"
mkdir "$dir"
cat > "$dir/image"
echo "$2  $dir/image" | sha256sum -c >/dev/null || { echo "the image came incomplete" >&2; exit 1; }
tar -C "$dir" -xf "$dir/image"
rm "$dir/image"
"#;

/// Brings the image to the target.
pub fn upload(cx: &Context, folder: &str, image: &Image) -> Result<(), StepError> {
    let (events, total) = (cx.events.clone(), image.size);
    cx.target()?
        .session
        .root_script_with_stdin(RECEIVE, &[folder, image.sha256.as_str()])
        .stdin_file(&image.path)
        .on_sent(move |sent| {
            events.progress(Progress {
                label: "sending the installer".into(),
                bytes_done: Some(sent),
                bytes_total: Some(total),
                ..Progress::default()
            });
        })
        .deadline(UPLOAD_DEADLINE)
        .run()
        .map_err(|error| StepError::from(error).doing("the installer could not be sent"))?;
    Ok(())
}

/// Loads the installer; it starts some seconds after this returns.
pub fn start(cx: &Context, folder: &str) -> Result<(), StepError> {
    let run = format!("{folder}/landfall-kexec/kexec/run");
    let mut argv = vec![run.as_str()];
    if let Some(flags) = &cx.config.kexec.extra_flags {
        argv.extend(["--kexec-extra-flags", flags]);
    }
    cx.target()?.session.root(&argv).deadline(LOAD_DEADLINE).run().map_err(|error| {
        let mut error = StepError::from(error).doing("the installer could not be loaded");
        error.hint = "The system on the target still runs. See the log of the step for what \
                      its kernel said: landfall log HOST installer"
            .into();
        error
    })?;
    Ok(())
}

/// Waits for the installer: the same host key as before, on another boot.
pub fn wait(cx: &mut Context, old_boot: &str) -> Result<(), StepError> {
    let endpoint = cx.target()?.session.endpoint().clone();
    let key = cx.target()?.host_key.clone();
    // Its connection ends with it.
    cx.target = None;
    let what = format!("the installer to start on {}", endpoint.host);
    cx.events.emit(Event::Waiting { what, deadline_seconds: BOOT_DEADLINE.as_secs() });
    let places = places(cx, &endpoint);
    let until = Instant::now() + BOOT_DEADLINE;
    let mut last = String::new();
    while Instant::now() < until {
        for (place, is_guess) in &places {
            match arrived(cx, place, &key, old_boot) {
                Ok(Some(target)) => {
                    cx.config.target = Some(place.clone());
                    cx.target = Some(target);
                    cx.phase = Phase::Installer;
                    cx.events.emit(Event::Arrived { what: "the installer is up".into() });
                    cx.events.emit(Event::Phase { phase: cx.phase.to_string() });
                    return Ok(());
                }
                Ok(None) => "the system that was there still answers".clone_into(&mut last),
                // Another port of the machine may belong to something else altogether.
                Err(error) if *is_guess || error.exit == Exit::Failed => last = error.to_string(),
                Err(error) => return Err(error),
            }
        }
        crate::exec::sleep(Duration::from_secs(2))?;
    }
    Err(StepError::new(
        format!("the installer did not come up on {}", endpoint.host),
        format!("within {} minutes; at the end: {last}", BOOT_DEADLINE.as_secs() / 60),
        "See the machine's console. Its disks are as they were: a reset brings the old system back.",
    ))
}

/// The installer at `place`; none while it is the boot that was to end.
fn arrived(
    cx: &mut Context,
    place: &Endpoint,
    key: &HostKey,
    old_boot: &str,
) -> Result<Option<crate::machine::Target>, StepError> {
    // A machine that starts lets nobody in for a while: no reason to ask for passphrases.
    let silent = Endpoint { may_ask: false, ..place.clone() };
    let session = match Session::open(&silent, key, &cx.dir, TRY) {
        Err(error @ SshError::Auth { .. }) => return Err(StepError::from(error).exit(Exit::Failed)),
        other => other?,
    };
    let target = phase::examined(cx, session, key.clone())?;
    if target.facts.boot_id == old_boot {
        return Ok(None);
    }
    if target.facts.is_installer() {
        return Ok(Some(target));
    }
    Err(StepError::new(
        "the target booted, and not into an installer",
        format!("it runs {} {}", target.facts.os, target.facts.variant).trim_end().to_owned(),
        "The kexec did not take: see the machine's console, or boot the installer by hand.",
    )
    .exit(Exit::Person))
}

/// Where the installer may answer, as root; true for what is only a guess.
fn places(cx: &Context, before: &Endpoint) -> Vec<(Endpoint, bool)> {
    let root = before.with_user("root");
    if let Some(port) = cx.config.kexec.ssh_port {
        return vec![(Endpoint { port: Some(port), ..root }, false)];
    }
    let usual = Endpoint { port: Some(SSH_PORT), ..root.clone() };
    match before.port {
        None | Some(SSH_PORT) => vec![(root, false)],
        Some(_) => vec![(root, false), (usual, true)],
    }
}

/// Where the target is to be looked for in a run that may have replaced its system already.
pub fn endpoint_now(cx: &Context, endpoint: &Endpoint) -> Endpoint {
    let intended = journal::intention(cx.journal.lines(), StepId::Installer);
    let begun = intended.is_some_and(|intention| intention.fact(INTENDED).is_some());
    let Some(key) = cx.keys().installer().filter(|_| begun) else { return endpoint.clone() };
    // Only the installer lets root in by key where another user was named.
    let is_there = |place: &Endpoint| {
        ssh::offered_key(place, TRY, Some(key.negotiation())).is_ok_and(|offered| offered == key)
            && Session::open(place, &key, &cx.dir, TRY).is_ok()
    };
    let places = places(cx, endpoint).into_iter().map(|(place, _)| place);
    places.into_iter().find(is_there).unwrap_or_else(|| endpoint.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "loaded=0\ndisabled=0\nlockdown=none\ncontainer=none\n\
                        available_kib=1500000\nfolder=/root\n";
    const GIB: u64 = 1 << 30;

    fn why(text: &str, memory: u64) -> String {
        judge(text, memory, 100 << 20).unwrap_err().why
    }

    #[test]
    fn a_system_that_can_be_replaced_tells_where_the_image_fits() {
        assert_eq!(judge(GOOD, 2 * GIB, 100 << 20), Ok("/root".into()));
        // Kernels before lockdown existed, systems without systemd.
        let old = "loaded=0\ndisabled=0\nlockdown=\navailable_kib=1500000\nfolder=/tmp\n";
        assert_eq!(judge(old, 2 * GIB, 100 << 20), Ok("/tmp".into()));
    }

    #[test]
    fn each_obstacle_is_named() {
        let with = |from: &str, to: &str| why(&GOOD.replace(from, to), 2 * GIB);
        assert!(with("container=none", "container=lxc").contains("container (lxc)"));
        assert!(with("loaded=0", "loaded=missing").contains("without kexec"));
        assert!(with("lockdown=none", "lockdown=integrity").contains("Secure Boot"));
        assert!(with("disabled=0", "disabled=1").contains("kexec_load_disabled"));
        assert!(with("available_kib=1500000", "available_kib=9000").contains("is free"));
        assert!(with("folder=/root\n", "").contains("no folder"));
        assert_eq!(
            with("container", "missing=cpio\nmissing=tar\ncontainer"),
            "it has no cpio, no tar"
        );
        assert!(why(GOOD, GIB / 2).contains("memory"));
    }
}
