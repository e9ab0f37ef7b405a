//! What a machine reports of its hardware: a Nix module of nixos-generate-config, or the
//! JSON of nixos-facter. Either is checked before it goes anywhere.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::error::{Advice, Exit, StepError};
use crate::exec::Cmd;
use crate::ssh::Session;

/// The program that looks at the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    GenerateConfig,
    Facter,
}

impl Backend {
    /// The one that writes files of this name.
    pub fn of_file(file: &Path) -> Self {
        let json = file.extension().is_some_and(|extension| extension == "json");
        if json { Self::Facter } else { Self::GenerateConfig }
    }

    pub fn program(self) -> &'static str {
        match self {
            Self::GenerateConfig => "nixos-generate-config",
            Self::Facter => "nixos-facter",
        }
    }

    /// What the machine of `session` reports, as the text of the hardware file.
    pub fn report(self, session: &Session) -> Result<String, StepError> {
        match self {
            Self::GenerateConfig => generated(session),
            Self::Facter => facts(session),
        }
    }
}

fn generated(session: &Session) -> Result<String, StepError> {
    let argv = ["nixos-generate-config", "--no-filesystems", "--show-hardware-config"];
    let failed = |error| {
        StepError::from(error).doing("nixos-generate-config on the target gave no hardware module")
    };
    let text = session.root(&argv).read().map_err(failed)? + "\n";
    Cmd::new("nix-instantiate")
        .args(["--parse", "-"])
        .input(text.clone().into_bytes())
        .run()
        .map_err(|error| {
            StepError::from(error).doing("what nixos-generate-config printed is not a Nix module")
        })?;
    Ok(text)
}

fn facts(session: &Session) -> Result<String, StepError> {
    let output = session.root(&["nixos-facter"]).output()?;
    if output.status.code() == Some(127)
        || output.stderr.contains("nixos-facter: command not found")
    {
        return Err(StepError::new(
            "the installer has no nixos-facter",
            "the program is not in its PATH",
            "Add pkgs.nixos-facter to environment.systemPackages of the installer image, or take \
             nixos-generate-config.",
        )
        .exit(Exit::Usage));
    }
    if !output.status.success() {
        return Err(StepError::new(
            "nixos-facter on the target gave no report",
            output.stderr.trim().to_owned(),
            "Run it on the target by hand: it needs root.",
        ));
    }
    Ok(json_of(&output.text())?)
}

/// Why something is no report of nixos-facter.
#[derive(Debug, thiserror::Error)]
enum NoReport {
    #[error("what nixos-facter printed is not a report\nthere is no JSON in it")]
    NoJson,
    #[error("what nixos-facter printed is not a report\n{0}")]
    Json(#[from] serde_json::Error),
    #[error("what nixos-facter printed is not a report\nit has no {0:?}")]
    Missing(&'static str),
}

impl Advice for NoReport {
    fn hint(&self) -> String {
        "Run nixos-facter on the target by hand and look at what it prints.".into()
    }
}

/// The report in what was printed. Lines of log before it are left out: some versions
/// and wrappers print them to the same stream.
fn json_of(printed: &str) -> Result<String, NoReport> {
    let start =
        if printed.starts_with('{') { Some(0) } else { printed.find("\n{").map(|at| at + 1) };
    let json = &printed[start.ok_or(NoReport::NoJson)?..];
    let value: Value = serde_json::from_str(json)?;
    for name in ["version", "system", "hardware"] {
        if value.get(name).is_none() {
            return Err(NoReport::Missing(name));
        }
    }
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

/// Puts the report into its file, whole or not at all, readable for everybody.
pub fn write(file: &Path, text: &str) -> Result<(), StepError> {
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

    const REPORT: &str = r#"{"version": 1, "system": "x86_64-linux", "hardware": {"cpu": []}}"#;

    #[test]
    fn a_report_is_json_and_nothing_else() {
        let clean = json_of(REPORT).unwrap();
        assert!(clean.starts_with("{\n") && clean.ends_with("}\n"), "{clean}");
        let noisy = format!("2026/01/01 INFO reading {{pci}}\nwarning: x\n{REPORT}");
        assert_eq!(json_of(&noisy).unwrap(), clean);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for bad in [
            "",
            "error: no permission",
            "{}",
            "{\"version\": 1",
            &format!("{REPORT}\nINFO done"),
            "[1]",
        ] {
            assert!(json_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_tell_their_backend() {
        assert_eq!(Backend::of_file(Path::new("a/facter.json")), Backend::Facter);
        assert_eq!(Backend::of_file(Path::new("a/hardware.nix")), Backend::GenerateConfig);
    }
}
