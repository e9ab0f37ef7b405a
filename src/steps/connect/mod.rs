//! Phase first: which system answers on the target, proven by its host key.
//!
//! The key that answers is learnt without trusting it, compared with the keys
//! that may answer, and only then connected to, pinned to exactly that key. Any
//! other key ends the run before anything was sent.

pub(crate) mod addresses;
pub(crate) mod sudo;

use std::time::{Duration, Instant};

use super::context::Context;
use super::install::InstallOutput;
use super::installer::kexec;
use crate::error::{Exit, StepError};
use crate::image::host_keys;
use crate::run::event::Event;
use crate::run::run_dir::StateDir;
use crate::run::step::StepId;
use crate::ssh;
use crate::ssh::{Endpoint, HostKey, HostKeyWatcher, Known, Session, SshError};

use crate::target::{Phase, Target, TargetFacts};
use crate::ui::prompt::Question;

/// For the first contact with a machine that should be up.
const CONTACT: Duration = Duration::from_secs(30);
/// For a machine that should be up, and is not where it was.
const LOOK_AROUND: Duration = Duration::from_secs(15);

/// Connects to the target and establishes its phase.
pub(crate) fn establish(cx: &mut Context) -> Result<(), StepError> {
    let Some(named) = cx.connection.address.clone() else { return Ok(()) };
    // After a kexec it may be another port, and another user.
    let endpoint = kexec::endpoint_now(cx, &named)?;
    let between = cx.finished(StepId::Install).is_some();
    match ssh::scan_key(&endpoint, CONTACT, None) {
        Ok(offered) => meet(cx, &endpoint, offered, between)?,
        Err(error) if !between => return Err(error.into()),
        // Off, on its way up, or somewhere else; the reboot step waits for it.
        Err(_) => {
            if let Some((place, key)) = look_around(cx, &endpoint)? {
                connect_installed(cx, &place, &key)?;
            }
        }
    }
    cx.events.emit(Event::Phase { phase: cx.connection.phase.to_string() });
    Ok(())
}

fn meet(
    cx: &mut Context,
    endpoint: &Endpoint,
    offered: HostKey,
    between: bool,
) -> Result<(), StepError> {
    let keys = cx.keys();
    // A key that the machine keeps says nothing of what runs there.
    if keys.kept().as_ref() == Some(&offered) {
        return connect_by_kept_key(cx, endpoint, &offered);
    }
    if keys.public().as_ref() == Some(&offered) {
        return connect_installed(cx, endpoint, &offered);
    }
    if between && keys.initrd_public().as_ref() == Some(&offered) {
        return Ok(()); // the reboot step says what it waits for
    }
    if between
        && keys.installer().as_ref() != Some(&offered)
        && let Some((place, key)) = look_around(cx, endpoint)?
    {
        return connect_installed(cx, &place, &key);
    }
    let trusted = trust_installer(cx, endpoint, offered)?;
    let session = Session::open(endpoint, &trusted, &cx.dir, CONTACT)?;
    let target = examined(cx, session, trusted)?;
    cx.connection.phase =
        if target.facts.is_installer() { Phase::Installer } else { Phase::Foreign };
    cx.connection.address = Some(endpoint.clone());
    cx.connection.target = Some(target);
    // Nothing that is done there is done as another user.
    sudo::ensure(cx)
}

/// Tells systems with one host key apart by what they say of themselves; the installed
/// one only by the closure that this run has put there.
fn connect_by_kept_key(
    cx: &mut Context,
    endpoint: &Endpoint,
    key: &HostKey,
) -> Result<(), StepError> {
    let system = cx.finished_output::<InstallOutput>()?.and_then(|install| install.system);
    let installed = installed_endpoint(cx, endpoint)?;
    let session = match Session::open(endpoint, key, &cx.dir, CONTACT) {
        Err(SshError::Auth { .. }) if system.is_some() => {
            return connect_installed(cx, &installed, key);
        }
        other => other?,
    };
    let target = examined(cx, session, key.clone())?;
    if system.is_some_and(|it| target.facts.current_system.as_deref() == Some(it.as_str())) {
        drop(target);
        return connect_installed(cx, &installed, key);
    }
    cx.connection.phase =
        if target.facts.is_installer() { Phase::Installer } else { Phase::Foreign };
    cx.connection.target = Some(target);
    sudo::ensure(cx)
}

/// The place where the installed system answers now, if it has moved.
fn look_around(
    cx: &Context,
    endpoint: &Endpoint,
) -> Result<Option<(Endpoint, HostKey)>, StepError> {
    let Some(key) = cx.keys().public() else { return Ok(None) };
    let places = addresses::candidates(cx, endpoint)?;
    let watcher = HostKeyWatcher::start(&places, key.algorithm());
    let until = Instant::now() + LOOK_AROUND;
    loop {
        match watcher.next(until.saturating_duration_since(Instant::now())) {
            None => return Ok(None),
            Some((place, offered)) if offered == key => {
                let place = Endpoint { may_ask: endpoint.may_ask, ..place };
                return Ok(Some((place, key)));
            }
            Some(_) => {}
        }
    }
}

/// Where the installed system answers, by what was told and configured.
pub(crate) fn installed_endpoint(cx: &Context, target: &Endpoint) -> Result<Endpoint, StepError> {
    let places = addresses::candidates(cx, target)?;
    Ok(places.into_iter().next().unwrap_or_else(|| target.clone()))
}

/// Logs in on the installed system: as the primary user, else as root where the
/// installed configuration lets only root in.
pub(crate) fn connect_installed(
    cx: &mut Context,
    endpoint: &Endpoint,
    key: &HostKey,
) -> Result<(), StepError> {
    let user = cx.primary_user()?;
    let session = match Session::open(&endpoint.with_user(&user), key, &cx.dir, CONTACT) {
        Err(SshError::Auth { .. }) => {
            Session::open(&endpoint.with_user("root"), key, &cx.dir, CONTACT)?
        }
        other => other?,
    };
    cx.connection.target = Some(examined(cx, session, key.clone())?);
    cx.connection.phase = Phase::Installed;
    Ok(())
}

/// A target of an open session, in which commands are root's if that takes no question.
pub(crate) fn examined(
    cx: &mut Context,
    mut session: Session,
    host_key: HostKey,
) -> Result<Target, StepError> {
    sudo::recall(cx, &mut session)?;
    let facts = TargetFacts::read(&session)?;
    Ok(Target { session, host_key, facts })
}

/// The installer's key among those that answer, `offered` the best of them: as the flag
/// says, as this run verified it before, as known_hosts says, as landfall's own image has
/// it, or as a person says.
fn trust_installer(
    cx: &Context,
    endpoint: &Endpoint,
    offered: HostKey,
) -> Result<HostKey, StepError> {
    let keys = cx.keys();
    let known = ssh::known(endpoint)?;
    if known.revoked.contains(&offered) {
        return Err(revoked(endpoint, &offered));
    }
    let trust = |key: HostKey| keys.trust_installer(&key).map(|()| key);
    if let Some(fingerprint) = &cx.config.installer_fingerprint {
        let named = |key: &HostKey| key.fingerprint() == *fingerprint;
        return match shown(endpoint, &offered, named)? {
            Some(key) if !known.revoked.contains(&key) => trust(key),
            _ => {
                let expected = [("--installer-fingerprint", fingerprint.clone())];
                Err(another_key(endpoint, &offered, &expected))
            }
        };
    }
    if keys.installer().as_ref() == Some(&offered) {
        return Ok(offered);
    }
    if !known.keys.is_empty() {
        if let Some(key) = shown(endpoint, &offered, |key| known.keys.contains(key))? {
            return trust(key);
        }
        let expected = known.keys.iter().map(|key| ("your known_hosts", key.fingerprint()));
        return Err(another_key(endpoint, &offered, &expected.collect::<Vec<_>>()));
    }
    if let Some(name) = host_keys::image_with(&StateDir::open()?, &offered) {
        cx.events.note(format!("the host key is that of the image {name}"));
        return trust(offered);
    }
    if let (Some(ours), true) = (keys.public(), cx.finished(StepId::Reboot).is_some()) {
        let expected = [("the system that this run installed", ours.fingerprint())];
        return Err(another_key(endpoint, &offered, &expected));
    }
    ask(cx, endpoint, &offered, &known)?;
    trust(offered)
}

/// The key that is `wanted`: the one that was offered, or one of another kind.
fn shown(
    endpoint: &Endpoint,
    offered: &HostKey,
    wanted: impl Fn(&HostKey) -> bool,
) -> Result<Option<HostKey>, StepError> {
    if wanted(offered) {
        return Ok(Some(offered.clone()));
    }
    Ok(ssh::scan_keys(endpoint, CONTACT)?.into_iter().find(wanted))
}

fn ask(
    cx: &Context,
    endpoint: &Endpoint,
    offered: &HostKey,
    known: &Known,
) -> Result<(), StepError> {
    let fingerprint = offered.fingerprint();
    let mut background = Vec::new();
    if let Some(before) = cx.keys().installer() {
        background.push(format!(
            "This run knew the installer by {} before. One that was started again makes a new \
             key; another machine at this address has another one, too.",
            before.fingerprint()
        ));
    }
    for authority in &known.authorities {
        background.push(format!(
            "Your known_hosts takes certificates of {} for this name. landfall holds on to a \
             single key, and does not look at certificates.",
            authority.fingerprint()
        ));
    }
    let mut question = Question::new(
        format!("Is this the host key of {}?", endpoint.host),
        "--installer-fingerprint SHA256:…",
    )
    .detail(format!("{} {fingerprint}", offered.algorithm()))
    .detail("Compare it with what the console of the machine shows:")
    .detail("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    question.detail.extend(background.iter().cloned());
    // Whom nobody can ask is told the key itself, and not only the question.
    if cx.prompter.is_interactive() && cx.prompter.confirm(&question)? {
        return Ok(());
    }
    background.insert(0, format!("it showed {} {fingerprint}", offered.algorithm()));
    background.push("Nothing was sent to it.".into());
    Err(StepError::new(
        format!("the host key of {} was not confirmed", endpoint.host),
        background.join("\n"),
        format!(
            "Compare it with what the console of the machine shows; if it is the same: \
             --installer-fingerprint {fingerprint}"
        ),
    )
    .exit(Exit::Person))
}

fn revoked(endpoint: &Endpoint, offered: &HostKey) -> StepError {
    StepError::new(
        format!("{} answers with a host key that is revoked", endpoint.host),
        format!(
            "it showed {} {}\nYour known_hosts marks this key as @revoked. Nothing was sent to it.",
            offered.algorithm(),
            offered.fingerprint()
        ),
        "Whoever has the key can be that machine. Give the installer another one, or take the \
         line out of known_hosts when it is wrong.",
    )
    .exit(Exit::Person)
}

fn another_key(endpoint: &Endpoint, offered: &HostKey, expected: &[(&str, String)]) -> StepError {
    let mut why = format!("it showed   {} {}", offered.algorithm(), offered.fingerprint());
    for (source, fingerprint) in expected {
        why.push_str(&format!("\nexpected    {fingerprint} ({source})"));
    }
    why.push_str("\nNothing was sent to it.");
    StepError::new(
        format!("{} answers with another host key", endpoint.host),
        why,
        "Another installer image or a reinstalled machine has another key, and so has an attacker in between. \
         Compare with the machine's console, then name the key with --installer-fingerprint or correct known_hosts.",
    )
    .exit(Exit::Person)
}
