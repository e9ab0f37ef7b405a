//! What a machine reports of its hardware: a Nix module of nixos-generate-config, or the
//! JSON of nixos-facter. Either is read up to a bound, and checked before it goes anywhere.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{facter, generated};
use crate::error::{Exit, StepError};
use crate::exec::{Cmd, ExecError};
use crate::ssh::Session;
use crate::ui::text::size;

/// The program that looks at the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    GenerateConfig,
    Facter,
}

impl Backend {
    /// The one that writes files of this name.
    pub(crate) fn of_file(file: &Path) -> Self {
        let json = file.extension().is_some_and(|extension| extension == "json");
        if json { Self::Facter } else { Self::GenerateConfig }
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::GenerateConfig => "nixos-generate-config",
            Self::Facter => "nixos-facter",
        }
    }

    /// What the machine of `session` reports, as the text of the hardware file. A Nix
    /// module is given as it came: whether it is data alone is for `review` to say.
    pub(crate) fn report(self, session: &Session) -> Result<String, StepError> {
        match self {
            Self::GenerateConfig => generated(session),
            Self::Facter => facts(session),
        }
    }
}

fn generated(session: &Session) -> Result<String, StepError> {
    let argv = ["nixos-generate-config", "--no-filesystems", "--show-hardware-config"];
    let text = match printed(session.root(&argv), generated::MOST_BYTES) {
        Printed::Text(text) => text,
        Printed::Failed(error) => {
            return Err(StepError::from(error)
                .doing("nixos-generate-config on the target gave no hardware module"));
        }
        Printed::TooMuch => {
            return Err(too_much(Backend::GenerateConfig, generated::MOST_BYTES));
        }
        Printed::NoText => return Err(no_text(Backend::GenerateConfig)),
    };
    Ok(text.trim_end_matches('\n').to_owned() + "\n")
}

fn facts(session: &Session) -> Result<String, StepError> {
    let text = match printed(session.root(&["nixos-facter"]), facter::MOST_BYTES) {
        Printed::Text(text) => text,
        Printed::Failed(error) => return Err(no_facts(error)),
        Printed::TooMuch => return Err(too_much(Backend::Facter, facter::MOST_BYTES)),
        Printed::NoText => return Err(no_text(Backend::Facter)),
    };
    let report = facter::parse(&text).and_then(|report| {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
    });
    report.map(|text| text + "\n").map_err(|why| {
        StepError::new(
            "what nixos-facter printed is not a report",
            why,
            "Run nixos-facter on the target by hand and look at what it prints.",
        )
    })
}

fn no_facts(error: ExecError) -> StepError {
    if error.is_interrupt() {
        return error.into();
    }
    if error.code() == Some(127) || error.stderr().contains("nixos-facter: command not found") {
        return StepError::new(
            "the installer has no nixos-facter",
            "the program is not in its PATH",
            "Add pkgs.nixos-facter to environment.systemPackages of the installer image, or take \
             nixos-generate-config.",
        )
        .exit(Exit::Usage);
    }
    let why = match &error {
        ExecError::Failed { stderr, .. } => stderr.trim().to_owned(),
        other => other.to_string(),
    };
    StepError::new(
        "nixos-facter on the target gave no report",
        why,
        "Run it on the target by hand: it needs root.",
    )
}

fn too_much(backend: Backend, most: usize) -> StepError {
    StepError::new(
        format!("{} on the target prints too much", backend.program()),
        format!("a report of the hardware has at most {}; no more was read", size(most as u64)),
        "Run it on the target by hand and look at what it prints. Is it the right machine?",
    )
    .exit(Exit::Person)
}

fn no_text(backend: Backend) -> StepError {
    StepError::new(
        format!("what {} on the target printed is not a report", backend.program()),
        "it is no text in UTF-8",
        "Run it on the target by hand and look at what it prints. Is it the right machine?",
    )
    .exit(Exit::Person)
}

/// What a command left on standard output.
enum Printed {
    Text(String),
    NoText,
    TooMuch,
    Failed(ExecError),
}

/// Runs `cmd` and reads at most so many bytes of what it prints. Whoever prints more finds
/// nobody reading, and ends.
fn printed(cmd: Cmd, most: usize) -> Printed {
    let (ours, theirs) = match UnixStream::pair() {
        Ok(pair) => pair,
        Err(source) => {
            return Printed::Failed(ExecError::Io { command: cmd.to_string(), source });
        }
    };
    let (read, ended) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut bytes = Vec::new();
            // The command reads nothing; where the socket breaks, its end tells why.
            let _ = ours.shutdown(Shutdown::Write);
            let _ = (&ours).take(most as u64 + 1).read_to_end(&mut bytes);
            bytes
        });
        let ended = cmd.serve(theirs);
        (reader.join().unwrap_or_default(), ended)
    });
    if read.len() > most {
        return Printed::TooMuch;
    }
    match ended {
        Ok(_) => String::from_utf8(read).map_or(Printed::NoText, Printed::Text),
        Err(error) => Printed::Failed(error),
    }
}

/// Puts the report into its file, whole or not at all, readable for everybody.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), StepError> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| {
        StepError::new(
            format!("{} could not be written", file.display()),
            error.to_string(),
            "Make its folder writable for you, then run the same command again.",
        )
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut new = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    use std::os::unix::fs::PermissionsExt;
    let readable = std::fs::Permissions::from_mode(0o644);
    new.as_file().set_permissions(readable).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn files_tell_their_backend() {
        assert_eq!(Backend::of_file(Path::new("a/facter.json")), Backend::Facter);
        assert_eq!(Backend::of_file(Path::new("a/hardware.nix")), Backend::GenerateConfig);
    }

    #[test]
    fn what_is_printed_is_read_up_to_the_bound() {
        assert!(matches!(printed(shell("printf abc"), 3), Printed::Text(text) if text == "abc"));
        assert!(matches!(printed(shell("printf abcd"), 3), Printed::TooMuch));
        assert!(matches!(printed(shell(r"printf '\377'"), 3), Printed::NoText));
        let failed = printed(shell("printf abc; echo no >&2; exit 4"), 3);
        assert!(matches!(failed, Printed::Failed(error) if error.code() == Some(4)));
        let all_of_it = shell("read -r line; printf 'none%s' \"$line\"");
        assert!(matches!(printed(all_of_it, 9), Printed::Text(text) if text == "none"));
    }

    #[test]
    fn what_never_ends_is_not_waited_for() {
        let started = Instant::now();
        assert!(matches!(printed(shell("exec cat /dev/zero"), 1 << 20), Printed::TooMuch));
        assert!(matches!(printed(shell("exec yes"), 1 << 20), Printed::TooMuch));
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
