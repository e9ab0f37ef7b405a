//! Remote unlock: the initrd answers under a key of its own, and the operator gives it the
//! passphrase over ssh.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use crate::journey::claims::{Claim, staged_and};
use crate::journey::fixture::Journey;
use crate::journey::operator::Operator;
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{Connection, Setup, words};
use crate::journey::ssh_host::SshHost;
use crate::process::wait_until;

/// The initrd's host key on the machine.
const KEY: &str = "/etc/secrets/initrd/ssh_host_ed25519_key";
/// Below the operator's home: the fingerprint that the initrd answered with.
const INITRD_KEY: &str = "initrd-key";
/// A port that nothing else uses here.
const PORT: u16 = 22022;
/// For the prompt after the login, on a busy machine.
const PROMPT_DEADLINE: Duration = Duration::from_secs(120);
/// From the passphrase to the end of the initrd.
const END_DEADLINE: Duration = Duration::from_secs(180);

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let same_port = Scenario {
        name: "unlock-over-ssh",
        shows: "direct; the initrd answers with its own key, and is unlocked over ssh",
        setup: Setup {
            edits: vec![add_ssh_to_the_initrd],
            flags: words("--strategy direct"),
            ..Setup::staged()
        },
        actions: vec![Action::Do(bootstrap_and_unlock)],
        claims: staged_and(&[UNLOCKED]),
        ..Scenario::staged()
    };
    let other_port = Scenario {
        name: "unlock-at-another-port",
        shows: "the same, where the initrd listens at a port of its own",
        setup: Setup {
            edits: vec![add_ssh_to_the_initrd, move_to_another_port],
            connection: Connection { initrd_port: Some(PORT), ..Connection::ROOT },
            ..same_port.setup.clone()
        },
        ..same_port.clone()
    };
    vec![same_port, other_port]
}

/// Lets the operator log in to the initrd.
fn add_ssh_to_the_initrd(repos: &Repos, operator: &Operator) -> Result<()> {
    let key = operator.public_key()?;
    repos.add_to_host(&format!(
        "boot.initrd.network = {{\n    enable = true;\n    ssh = {{\n      enable = true;\n      \
         hostKeys = [ \"{KEY}\" ];\n      authorizedKeys = [ \"{}\" ];\n    }};\n  }};",
        key.trim()
    ))
}

/// Lets the initrd listen at a port of its own.
fn move_to_another_port(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_host(&format!("boot.initrd.network.ssh.port = {PORT};"))
}

/// Bootstraps while nobody is at the console: when landfall says that the initrd answers, the
/// operator does what it says.
fn bootstrap_and_unlock(journey: &Journey) -> Result<()> {
    journey.target.stop_typing()?;
    let mut command = journey.bootstrap_command()?;
    let mut landfall = command.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(landfall.stdout.take().context("landfall has no output")?);
    let says = Regex::new(
        r"the initrd of \S+ answers, with the key (SHA256:\S+), .* after: landfall (.*)$",
    )?;
    let mut unlocked = None;
    for line in lines.lines() {
        let line = line?;
        println!("{line}");
        if let (Some(said), None) = (says.captures(&line), &unlocked) {
            let outcome = unlock(journey, &said[1], &said[2]);
            if outcome.is_err() {
                // Nobody else will type it.
                landfall.kill()?;
            }
            unlocked = Some(outcome);
        }
    }
    let status = landfall.wait()?;
    unlocked.context("landfall did not say that the initrd answers")??;
    ensure!(status.success(), "landfall bootstrap ended with {status}");
    Ok(())
}

/// Runs the command that landfall named, and types the passphrase where it is asked for.
fn unlock(journey: &Journey, fingerprint: &str, command: &str) -> Result<()> {
    let operator = &journey.operator;
    let port = journey.setup.connection.initrd_port.unwrap_or(journey.target.port);
    let initrd = SshHost::scan(operator, port, "initrd")?;
    let answers = initrd.fingerprint()?;
    ensure!(answers == fingerprint, "{answers} answers in the initrd, not {fingerprint}");
    std::fs::write(operator.path(INITRD_KEY), &answers)?;
    let mut landfall = operator.landfall()?;
    landfall.args(command.split_whitespace());
    let mut session = landfall.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let said = chunks(session.stdout.take().context("ssh has no output")?);
    wait_for(&said, "passphrase for")?;
    let mut keyboard = session.stdin.take().context("ssh has no input")?;
    keyboard.write_all(format!("{}\n", journey.secrets.passphrase).as_bytes())?;
    keyboard.flush()?;
    // The connection ends with the initrd; the keyboard stays until then.
    let ended = wait_until(END_DEADLINE, || !matches!(session.try_wait(), Ok(None)))?;
    let _ = session.kill();
    session.wait()?;
    ensure!(ended, "the session goes on after the initrd has ended");
    drop(keyboard);
    println!("the initrd, {answers}, was given the passphrase over ssh");
    Ok(())
}

/// Receives what is printed, as it comes.
fn chunks(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = output.read(&mut bytes) {
            if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Waits until these words were printed.
fn wait_for(said: &Receiver<Vec<u8>>, words: &str) -> Result<()> {
    let mut text = String::new();
    while !text.contains(words) {
        match said.recv_timeout(PROMPT_DEADLINE) {
            Ok(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Err(error) => bail!("no \"{words}\" over ssh ({error}): {text}"),
        }
    }
    Ok(())
}

/// Shows that the root is behind LUKS, nobody typed on the console, and the initrd had a key that the
/// installed system does not have.
const UNLOCKED: Claim = Claim::new("disk", |journey| {
    let installed = journey.installed()?;
    let source = journey.as_user("findmnt -no SOURCE /")?;
    ensure!(source.starts_with("/dev/mapper/"), "the root is {source}, not behind LUKS");
    let typed = journey.target.passphrases_typed();
    ensure!(typed == 0, "a passphrase was typed on the console");
    let initrd = std::fs::read_to_string(journey.operator.path(INITRD_KEY))?;
    let host = installed.fingerprint()?;
    ensure!(initrd != host, "the initrd answers with the host key {host}");
    let kept = journey.as_root(&format!("ssh-keygen -lf {KEY} && stat -c %a {KEY}"))?;
    ensure!(kept.contains(&initrd) && kept.ends_with("600"), "{KEY} is {kept}");
    Ok(format!("{source}, unlocked over ssh under {initrd}; {HOST} itself has {host}"))
});
