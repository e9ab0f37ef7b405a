//! `landfall keys`: what follows from an SSH host key.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Exit, StepError};
use crate::exec;
use crate::secret::age::{HostKeyPair, Identity, Recipient};
use crate::secret::{Secret, write_new_private};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// Age recipient of an SSH host public key
    #[command(
        visible_alias = "age",
        after_help = "Example:\n  ssh-keyscan -t ed25519 guppy | landfall keys to-age"
    )]
    ToAge(ToAgeArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ToAgeArgs {
    /// Public key, or what ssh-keyscan prints; `-` reads standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,

    /// FILE is a private key: write its age identity to this file, mode 0600
    #[arg(long, value_name = "OUT")]
    pub(crate) private_key: Option<PathBuf>,
}

pub(crate) fn run(command: &KeysCommand, out: &mut dyn Write) -> Result<Exit, StepError> {
    match command {
        KeysCommand::ToAge(args) => to_age(args, out),
    }
}

fn to_age(args: &ToAgeArgs, out: &mut dyn Write) -> Result<Exit, StepError> {
    let text = read(&args.file)?;
    if let Some(path) = &args.private_key {
        return write_identity(&text, path, out);
    }
    let text = text.expose_str().unwrap_or_default();
    if text.contains("PRIVATE KEY") {
        return Err(StepError::new(
            format!("{} is a private key", args.file.display()),
            "its age identity is as secret as it is, and is not printed",
            "Use the .pub file, or write the identity to a file: --private-key OUT",
        )
        .exit(Exit::Usage));
    }
    let recipients = recipients(text)?;
    for recipient in recipients {
        writeln!(out, "{recipient}").map_err(|error| output(&error))?;
    }
    Ok(Exit::Done)
}

/// The recipients of all ed25519 keys in the text; other kinds are passed over
/// when there is at least one that can be used (ssh-keyscan prints all of them).
pub(crate) fn recipients(text: &str) -> Result<Vec<Recipient>, StepError> {
    let mut found = Vec::new();
    let mut refused = None;
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        // ssh-keyscan puts the machine's name before the key.
        let start = line
            .find("ssh-")
            .or_else(|| line.find("ecdsa-"))
            .or_else(|| line.find("sk-"))
            .unwrap_or(0);
        let parsed = if line.starts_with("age1") {
            Recipient::parse(line)
        } else {
            Recipient::from_ssh_public(&line[start..])
        };
        match parsed {
            Ok(recipient) if !found.contains(&recipient) => found.push(recipient),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    match (found.is_empty(), refused) {
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(StepError::new(
            "there is no key",
            "the input is empty",
            "Name the .pub file, or pipe it in: ssh-keyscan -t ed25519 HOST | landfall keys to-age",
        )
        .exit(Exit::Usage)),
        (false, _) => Ok(found),
    }
}

fn write_identity(text: &Secret, path: &Path, out: &mut dyn Write) -> Result<Exit, StepError> {
    let identity = HostKeyPair::parse(text.expose_str().unwrap_or_default())?.identity()?;
    if path == Path::new("-") {
        return Err(StepError::new(
            "the identity is not printed",
            "it is as secret as the private key",
            "Name a file, which gets mode 0600: --private-key OUT",
        )
        .exit(Exit::Usage));
    }
    write_new_private(path, identity.key_file().expose()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => StepError::new(
            format!("{} exists already", path.display()),
            "a key is never overwritten",
            "Name another file, or move that one away.",
        )
        .exit(Exit::Usage),
        _ => StepError::new(
            format!("{} could not be written", path.display()),
            error.to_string(),
            "Name a file in a folder that you can write to.",
        ),
    })?;
    writeln!(out, "{}", identity.recipient()).map_err(|error| output(&error))?;
    Ok(Exit::Done)
}

/// The age identity in a file: that of an SSH private key, or one that stands there itself.
pub(crate) fn identity(path: &Path) -> Result<Identity, StepError> {
    let text = read(path)?;
    let text = text.expose_str().unwrap_or_default();
    match text.lines().find(|line| line.trim().starts_with("AGE-SECRET-KEY-")) {
        Some(line) => Ok(Identity::parse(line)?),
        None => Ok(HostKeyPair::parse(text)?.identity()?),
    }
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Secret, StepError> {
    // Room for any key: a buffer that grows leaves copies of a secret behind.
    let mut bytes = Vec::with_capacity(1 << 14);
    let read = if path == Path::new("-") {
        exec::read_to_end(&std::io::stdin(), &mut bytes).map(|()| bytes)
    } else {
        std::fs::read(path)
    };
    read.map(Secret::new).map_err(|error| {
        StepError::new(
            format!("{} cannot be read", path.display()),
            error.to_string(),
            "Check the path and its permissions.",
        )
        .exit(if exec::interrupted() { Exit::Interrupted } else { Exit::Usage })
    })
}

fn output(error: &std::io::Error) -> StepError {
    StepError::new("the output could not be written", error.to_string(), "Is the output open?")
}
