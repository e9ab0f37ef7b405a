//! nix's settings about builds: which systems this machine and its builders build for.

use serde::Deserialize;

use crate::error::{Exit, StepError};

/// nix's settings about builds on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BuildSettings {
    /// This machine's system, as `x86_64-linux`.
    pub(crate) system: String,
    /// Other systems that it can build for itself (`extra-platforms`), emulated or not.
    pub(crate) extra_platforms: Vec<String>,
    /// Systems that its remote builders (`builders`) build for, sorted.
    pub(crate) builder_systems: Vec<String>,
    /// 0 where `max-jobs` forbids building on this machine, else 1.
    pub(crate) max_jobs: u32,
}

/// Why the output of `nix config show --json` is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the setting `system` is missing")]
    NoSystem,
}

#[derive(Deserialize)]
struct Setting {
    value: serde_json::Value,
}

impl BuildSettings {
    /// Parses the output of `nix config show --json`; `read` returns the text of a file that
    /// `builders` refers to.
    pub(crate) fn parse(
        json: &str,
        read: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let settings: std::collections::BTreeMap<String, Setting> = serde_json::from_str(json)?;
        let value = |name: &str| settings.get(name).map(|setting| &setting.value);
        let text = |name: &str| value(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let list = |name: &str| {
            let items = value(name).and_then(|v| v.as_array()).cloned().unwrap_or_default();
            items.iter().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
        };
        let system = text("system");
        if system.is_empty() {
            return Err(SettingsError::NoSystem);
        }
        Ok(Self {
            builder_systems: systems_of(&text("builders"), &system, &read),
            extra_platforms: list("extra-platforms"),
            max_jobs: value("max-jobs").and_then(|v| v.as_u64()).map_or(1, |n| n.min(1) as u32),
            system,
        })
    }

    /// Says whether this machine or one of its builders builds for `system`.
    pub(crate) fn can_build(&self, system: &str) -> bool {
        let here = self.system == system || self.extra_platforms.iter().any(|s| s == system);
        (here && self.max_jobs > 0) || self.builder_systems.iter().any(|s| s == system)
    }

    /// Returns the error for a build for `system`, which neither this machine nor a builder does.
    pub(crate) fn cannot_build(&self, system: &str) -> StepError {
        let mut builds = vec![self.system.clone()];
        builds.extend(self.extra_platforms.clone());
        let builders = match self.builder_systems.as_slice() {
            [] => "nix's settings have no builders".to_owned(),
            of => format!("its builders build for {}", of.join(", ")),
        };
        let here = match self.max_jobs {
            0 => "max-jobs is 0 here".to_owned(),
            _ => format!("this machine builds for {}", builds.join(", ")),
        };
        StepError::new(
            format!("nothing here builds for {system}"),
            format!("{here}; {builders}"),
            "Build elsewhere: --build-on target, or --build-on ssh-ng://BUILDER. Or add a \
             builder (`builders`) or an emulated system (boot.binfmt.emulatedSystems, \
             `extra-platforms`) to nix's settings.",
        )
        .exit(Exit::Usage)
    }
}

/// Returns the systems in a value of `builders`: machines as `URI SYSTEMS KEY …`, separated by
/// newlines or `;`. `@FILE` includes the lines of a file; `-` as SYSTEMS means `default`. The
/// format is described in nix.conf(5) under `builders`.
fn systems_of(
    builders: &str,
    default: &str,
    read: &impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut systems: Vec<String> = Vec::new();
    for line in builders.split(['\n', ';']).map(str::trim) {
        if let Some(file) = line.strip_prefix('@') {
            let text = read(file.trim()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('@')).collect();
            systems.extend(systems_of(&lines.join("\n"), default, read));
            continue;
        }
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_ascii_whitespace();
        if fields.next().is_none() {
            continue;
        }
        match fields.next() {
            None | Some("-") => systems.push(default.to_owned()),
            Some(names) => systems.extend(names.split(',').map(ToOwned::to_owned)),
        }
    }
    systems.sort();
    systems.dedup();
    systems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(builders: &str) -> BuildSettings {
        let json = serde_json::json!({
            "system": {"value": "x86_64-linux", "defaultValue": "x86_64-linux"},
            "extra-platforms": {"value": ["i686-linux"]},
            "builders": {"value": builders},
            "max-jobs": {"value": 4},
        });
        let read = |path: &str| {
            (path == "/etc/nix/machines").then(|| {
                "# a comment\nssh-ng://one aarch64-linux,riscv64-linux - 4\nssh://me@two\n"
                    .to_owned()
            })
        };
        BuildSettings::parse(&json.to_string(), read).unwrap()
    }

    #[test]
    fn builders_are_read_from_the_settings_and_their_file() {
        assert_eq!(settings("").builder_systems, [] as [&str; 0]);
        let file = settings("@/etc/nix/machines").builder_systems;
        assert_eq!(file, ["aarch64-linux", "riscv64-linux", "x86_64-linux"]);
        let line = settings("ssh://b aarch64-linux; ssh://c armv7l-linux /key 2").builder_systems;
        assert_eq!(line, ["aarch64-linux", "armv7l-linux"]);
        assert_eq!(settings("@/missing").builder_systems, [] as [&str; 0]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = settings("").cannot_build("aarch64-linux");
        assert!(error.why.contains("x86_64-linux") && error.why.contains("no builders"));
        assert!(error.hint.contains("--build-on target"));
    }
}
