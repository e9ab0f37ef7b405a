//! Replacing a Linux that runs by the installer, with nobody at its console.
//!
//! The image is a tarball as nixos-images makes it: `kexec/run` loads the kernel
//! beside it, hands over host keys, authorized keys and network settings, and starts
//! it some seconds later. It comes through the source, so the target needs no network
//! of its own, and nothing runs there that was not named or fetched over TLS.

pub(crate) mod image;
pub(crate) mod preflight;

use std::time::{Duration, Instant};

use super::InstallerIntention;
use crate::error::{Exit, StepError};
use crate::exec;
use crate::run::event::{Event, Progress};
use crate::run::step::StepId;
use crate::ssh;
use crate::ssh::{Endpoint, HostKey, Session, SshError};
use crate::steps::connect;
use crate::steps::connect::addresses;
use crate::steps::context::Context;
use crate::target::Phase;

pub(crate) use image::{Image, image, named};
pub(crate) use preflight::preflight;

/// Slow lines carry some hundred MiB.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// Unpacking, packing keys, loading the kernel.
const LOAD_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The installer has a large store to unpack before it answers.
const BOOT_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// How long it is looked for at the named address alone.
const PATIENCE: Duration = Duration::from_secs(90);
/// One try to reach it.
const TRY: Duration = Duration::from_secs(20);
/// Where its SSH server listens, unless told otherwise.
const SSH_PORT: u16 = 22;

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
pub(crate) fn upload(cx: &Context, folder: &str, image: &Image) -> Result<(), StepError> {
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
pub(crate) fn start(cx: &Context, folder: &str) -> Result<(), StepError> {
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
pub(crate) fn wait(cx: &mut Context, old_boot: &str) -> Result<(), StepError> {
    let endpoint = cx.target()?.session.endpoint().clone();
    let key = cx.target()?.host_key.clone();
    // Its connection ends with it.
    cx.connection.target = None;
    say_waiting(cx, &endpoint);
    let places = places(cx, &endpoint)?;
    let until = Instant::now() + BOOT_DEADLINE;
    let mut last = String::new();
    while Instant::now() < until {
        // Nobody answers at most of these places, which takes its time.
        let patient = until.saturating_duration_since(Instant::now()) > BOOT_DEADLINE - PATIENCE;
        let worth_it = |place: &Endpoint| !patient || place.host == endpoint.host;
        for (place, is_guess) in places.iter().filter(|(place, _)| worth_it(place)) {
            match arrived(cx, place, &key, old_boot) {
                Ok(Some(target)) => {
                    cx.connection.address = Some(place.clone());
                    cx.connection.target = Some(target);
                    cx.connection.phase = Phase::Installer;
                    cx.events.emit(Event::Arrived { what: "the installer is up".into() });
                    cx.events.emit(Event::Phase { phase: cx.connection.phase.to_string() });
                    return Ok(());
                }
                Ok(None) => "the system that was there still answers".clone_into(&mut last),
                // Another port of the machine may belong to something else altogether.
                Err(error) if *is_guess || error.exit == Exit::Failed => last = error.to_string(),
                Err(error) => return Err(error),
            }
        }
        exec::sleep(Duration::from_secs(2))?;
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
) -> Result<Option<crate::target::Target>, StepError> {
    // A machine that starts lets nobody in for a while: no reason to ask for passphrases.
    let silent = Endpoint { may_ask: false, ..place.clone() };
    let session = match Session::open(&silent, key, &cx.dir, TRY) {
        Err(error @ SshError::Auth { .. }) => return Err(StepError::from(error).exit(Exit::Failed)),
        other => other?,
    };
    let target = connect::examined(cx, session, key.clone())?;
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
fn places(cx: &Context, before: &Endpoint) -> Result<Vec<(Endpoint, bool)>, StepError> {
    let root = before.with_user("root");
    let mut places = Vec::new();
    match cx.config.kexec.ssh_port {
        Some(port) => places.push((Endpoint { port: Some(port), ..root.clone() }, false)),
        None => places.push((root.clone(), false)),
    }
    let usual = Endpoint { port: cx.config.kexec.ssh_port.or(Some(SSH_PORT)), ..root };
    // The system that it ends had more addresses than the one that was named.
    let intended = cx.intended::<InstallerIntention>()?;
    let others =
        intended.map(|intention| addresses::reported(&intention.addresses)).unwrap_or_default();
    for host in [before.host.clone()].into_iter().chain(others) {
        let place = Endpoint { host, ..usual.clone() };
        let same = |(known, _): &(Endpoint, bool)| {
            known.host == place.host
                && known.port.unwrap_or(SSH_PORT) == place.port.unwrap_or(SSH_PORT)
        };
        if !places.iter().any(same) {
            places.push((place, true));
        }
    }
    Ok(places)
}

/// Where the target is to be looked for in a run that may have replaced its system already.
/// One that is still between the two systems is waited for.
pub(crate) fn endpoint_now(cx: &Context, endpoint: &Endpoint) -> Result<Endpoint, StepError> {
    let intended = cx.intended::<InstallerIntention>()?;
    let begun = intended.is_some_and(|intention| intention.kexec.is_some());
    let Some(key) = cx.keys().installer().filter(|_| begun) else { return Ok(endpoint.clone()) };
    let offers = |place: &Endpoint| ssh::scan_key(place, TRY, Some(key.negotiation()));
    // Only the installer lets root in by key where another user was named.
    let is_there = |place: &Endpoint| {
        offers(place).is_ok_and(|offered| offered == key)
            && Session::open(place, &key, &cx.dir, TRY).is_ok()
    };
    let places: Vec<Endpoint> = places(cx, endpoint)?.into_iter().map(|(place, _)| place).collect();
    let until = Instant::now() + BOOT_DEADLINE;
    let mut told = false;
    loop {
        if let Some(place) = places.iter().find(|place| is_there(place)) {
            return Ok(place.clone());
        }
        let between = cx.finished(StepId::Installer).is_none() && offers(endpoint).is_err();
        if !between || Instant::now() > until {
            return Ok(endpoint.clone());
        }
        if !told {
            say_waiting(cx, endpoint);
            told = true;
        }
        exec::sleep(Duration::from_secs(2))?;
    }
}

fn say_waiting(cx: &Context, endpoint: &Endpoint) {
    let what = format!("the installer to start on {}", endpoint.host);
    cx.events.emit(Event::Waiting { what, deadline_seconds: BOOT_DEADLINE.as_secs() });
}
