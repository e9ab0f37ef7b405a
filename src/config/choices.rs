//! Choices that a person makes by a flag, as the rest of the program knows them.

use std::fmt;

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HardwareSource {
    /// Use the tracked file as it is
    Keep,
    /// Write what nixos-generate-config reports
    GenerateConfig,
    /// Write what nixos-facter reports
    Facter,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activation {
    /// It is booted, and verified then
    #[default]
    Boot,
    /// It takes over on the running machine
    Switch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChangedLayout {
    /// The disks stay as they were formatted
    Keep,
    /// They are erased and formatted again
    Format,
}

impl fmt::Display for HardwareSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keep => "keep",
            Self::GenerateConfig => "generate-config",
            Self::Facter => "facter",
        })
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Boot => "boot",
            Self::Switch => "switch",
        })
    }
}
