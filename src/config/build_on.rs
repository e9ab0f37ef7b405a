//! On which machine systems are built.
//!
//! The source, unless it cannot: a system of another kind needs emulation
//! (`extra-platforms`) or a builder in nix's settings. Then the target builds for
//! itself, on its new disks, or the nix store that the user names.

use std::fmt;
use std::str::FromStr;

use crate::nix::BuildSettings;

/// What `--build-on` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum BuildOn {
    /// The source where it can, else the target.
    #[default]
    Auto,
    Source,
    Target,
    /// A nix store that builds.
    Store(String),
}

impl fmt::Display for BuildOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Source => "source",
            Self::Target => "target",
            Self::Store(uri) => uri,
        })
    }
}

/// A word that says nothing of where systems are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("take auto, source, target, or the URI of a nix store, as in ssh-ng://builder")]
pub(crate) struct NoPlaceToBuild;

impl FromStr for BuildOn {
    type Err = NoPlaceToBuild;

    fn from_str(text: &str) -> Result<Self, NoPlaceToBuild> {
        Ok(match text {
            "auto" => Self::Auto,
            "source" | "local" => Self::Source,
            "target" | "remote" => Self::Target,
            uri if uri.contains("://") || uri.starts_with('/') => Self::Store(uri.to_owned()),
            _ => return Err(NoPlaceToBuild),
        })
    }
}

/// What builds the systems of this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Builder {
    Source,
    /// What is installed, in the store on the target's new disks.
    Target,
    Store(String),
}

impl fmt::Display for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.pad("the source"),
            Self::Target => f.pad("the target"),
            Self::Store(uri) => f.pad(uri),
        }
    }
}

impl BuildOn {
    /// What builds systems of the kind `system` (`x86_64-linux`).
    pub(crate) fn builder(&self, system: &str, settings: &BuildSettings) -> Builder {
        match self {
            Self::Auto if settings.can_build(system) => Builder::Source,
            Self::Auto | Self::Target => Builder::Target,
            Self::Source => Builder::Source,
            Self::Store(uri) => Builder::Store(uri.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an x86_64 machine that emulates i686, with builders for these systems.
    fn settings(builder_systems: &[&str]) -> BuildSettings {
        BuildSettings {
            system: "x86_64-linux".into(),
            extra_platforms: vec!["i686-linux".into()],
            builder_systems: builder_systems.iter().map(|system| (*system).to_owned()).collect(),
            max_jobs: 4,
        }
    }

    #[test]
    fn words_and_uris() {
        for (text, meant) in [
            ("auto", BuildOn::Auto),
            ("local", BuildOn::Source),
            ("remote", BuildOn::Target),
            ("ssh-ng://b", BuildOn::Store("ssh-ng://b".into())),
        ] {
            assert_eq!(text.parse(), Ok(meant), "{text}");
        }
        assert!("builder".parse::<BuildOn>().unwrap_err().to_string().contains("ssh-ng://"));
    }

    #[test]
    fn auto_is_the_target_only_when_nothing_else_can_build() {
        let auto = BuildOn::Auto;
        assert_eq!(auto.builder("x86_64-linux", &settings(&[])), Builder::Source);
        assert_eq!(auto.builder("i686-linux", &settings(&[])), Builder::Source);
        assert_eq!(auto.builder("aarch64-linux", &settings(&[])), Builder::Target);
        assert_eq!(auto.builder("aarch64-linux", &settings(&["aarch64-linux"])), Builder::Source);
        assert_eq!(BuildOn::Source.builder("aarch64-linux", &settings(&[])), Builder::Source);
        let none = BuildSettings { max_jobs: 0, ..settings(&[]) };
        assert_eq!(auto.builder("x86_64-linux", &none), Builder::Target);
    }
}
