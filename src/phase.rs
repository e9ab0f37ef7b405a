//! Phase first: which system answers on the target, proven by its host key.
//!
//! The key that answers is learnt without trusting it, compared with the keys
//! that may answer, and only then connected to, pinned to exactly that key. Any
//! other key ends the run before anything was sent.

use std::time::Duration;

use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::event::Event;
use crate::installers;
use crate::kexec;
use crate::machine::{Phase, Target, TargetFacts};
use crate::prompt::Question;
use crate::ssh::{self, Endpoint, HostKey, Session, SshError};
use crate::state::StateDir;
use crate::step::StepId;
use crate::sudo;

/// For the first contact with a machine that should be up.
const CONTACT: Duration = Duration::from_secs(30);

/// Connects to the target and establishes its phase.
pub fn establish(cx: &mut Context) -> Result<(), StepError> {
    let Some(named) = cx.config.target.clone() else { return Ok(()) };
    // After a kexec it may be another port, and another user.
    let endpoint = kexec::endpoint_now(cx, &named);
    let installed = installed_endpoint(cx, &endpoint);
    let between = cx.finished(StepId::Install).is_some();
    let offered = match ssh::offered_key(&endpoint, CONTACT, None) {
        Ok(key) => key,
        Err(_) if between => match ssh::offered_key(&installed, CONTACT, None) {
            Ok(key) => key,
            // Off, or on its way up: the reboot step waits for it.
            Err(_) => return Ok(()),
        },
        Err(error) => return Err(error.into()),
    };
    // A key that the machine keeps says nothing of what runs there.
    if cx.keys().kept().as_ref() == Some(&offered) {
        connect_by_kept_key(cx, &endpoint, &installed, &offered)?;
    } else if cx.keys().public().as_ref() == Some(&offered) {
        connect_installed(cx, &installed, &offered)?;
    } else {
        trust_installer(cx, &endpoint, &offered)?;
        let session = Session::open(&endpoint, &offered, &cx.dir, CONTACT)?;
        let target = examined(cx, session, offered)?;
        cx.phase = if target.facts.is_installer() { Phase::Installer } else { Phase::Foreign };
        cx.config.target = Some(endpoint);
        cx.target = Some(target);
        // Nothing that is done there is done as another user.
        sudo::ensure(cx)?;
    }
    cx.events.emit(Event::Phase { phase: cx.phase.to_string() });
    Ok(())
}

/// Tells systems with one host key apart by what they say of themselves; the installed
/// one only by the closure that this run has put there.
fn connect_by_kept_key(
    cx: &mut Context,
    endpoint: &Endpoint,
    installed: &Endpoint,
    key: &HostKey,
) -> Result<(), StepError> {
    let system = cx.finished(StepId::Install).and_then(|it| it.fact("system")).map(str::to_owned);
    let session = match Session::open(endpoint, key, &cx.dir, CONTACT) {
        Err(SshError::Auth { .. }) if system.is_some() => {
            return connect_installed(cx, installed, key);
        }
        other => other?,
    };
    let target = examined(cx, session, key.clone())?;
    if system.is_some() && target.facts.current_system == system {
        drop(target);
        return connect_installed(cx, installed, key);
    }
    cx.phase = if target.facts.is_installer() { Phase::Installer } else { Phase::Foreign };
    cx.target = Some(target);
    sudo::ensure(cx)
}

/// The address of the installed system, with the user who works there.
pub fn installed_endpoint(cx: &Context, installer: &Endpoint) -> Endpoint {
    let mut endpoint = installer.clone();
    if let Some(other) = &cx.config.installed_address {
        endpoint.host.clone_from(&other.host);
        endpoint.port = other.port.or(endpoint.port);
    }
    // Where no port was named, the configuration tells it.
    if let (None, Ok(facts)) = (endpoint.port, cx.facts()) {
        let ports = &facts.first().ssh_ports;
        endpoint.port = ports.first().copied().filter(|_| !ports.contains(&22));
    }
    endpoint
}

/// Logs in on the installed system: as the primary user, else as root where the
/// installed configuration lets only root in.
pub fn connect_installed(
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
    cx.target = Some(examined(cx, session, key.clone())?);
    cx.phase = Phase::Installed;
    Ok(())
}

/// A target of an open session, in which commands are root's if that takes no question.
pub fn examined(
    cx: &mut Context,
    mut session: Session,
    host_key: HostKey,
) -> Result<Target, StepError> {
    sudo::recall(cx, &mut session)?;
    let facts = TargetFacts::read(&session)?;
    Ok(Target { session, host_key, facts })
}

/// Decides whether `offered` is the installer's key: as this run verified it
/// before, as the flag says, as known_hosts says, or as a person says.
fn trust_installer(cx: &Context, endpoint: &Endpoint, offered: &HostKey) -> Result<(), StepError> {
    let keys = cx.keys();
    if let Some(fingerprint) = &cx.config.installer_fingerprint {
        if offered.fingerprint() != *fingerprint {
            return Err(another_key(
                endpoint,
                offered,
                &[("--installer-fingerprint", fingerprint)],
            ));
        }
        return keys.trust_installer(offered);
    }
    if keys.installer().as_ref() == Some(offered) {
        return Ok(());
    }
    let known = ssh::known_keys(endpoint)?;
    if known.contains(offered) {
        return keys.trust_installer(offered);
    }
    let same_kind = known.iter().find(|key| key.algorithm() == offered.algorithm());
    if let Some(known) = same_kind {
        return Err(another_key(endpoint, offered, &[("your known_hosts", &known.fingerprint())]));
    }
    if let Some(name) = installers::recorded(&StateDir::open()?, offered) {
        cx.events.note(format!("the host key is that of the image {name}"));
        return keys.trust_installer(offered);
    }
    ask(cx, endpoint, offered)?;
    keys.trust_installer(offered)
}

fn ask(cx: &Context, endpoint: &Endpoint, offered: &HostKey) -> Result<(), StepError> {
    let fingerprint = offered.fingerprint();
    let question = Question::new(
        format!("Is this the host key of {}?", endpoint.host),
        "--installer-fingerprint SHA256:…",
    )
    .detail(format!("{} {fingerprint}", offered.algorithm()))
    .detail("Compare it with what the console of the machine shows:")
    .detail("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    // Whom nobody can ask is told the key itself, and not only the question.
    if cx.prompter.is_interactive() && cx.prompter.confirm(&question)? {
        return Ok(());
    }
    Err(StepError::new(
        format!("the host key of {} was not confirmed", endpoint.host),
        format!("it showed {} {fingerprint}", offered.algorithm()),
        format!(
            "Compare it with what the console of the machine shows; if it is the same: \
             --installer-fingerprint {fingerprint}"
        ),
    )
    .exit(Exit::Person))
}

fn another_key(endpoint: &Endpoint, offered: &HostKey, expected: &[(&str, &str)]) -> StepError {
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
