//! File formats of sops, with its names and file extensions.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Yaml,
    Json,
    Dotenv,
    Ini,
    /// A JSON envelope around bytes: sops' format for all other extensions.
    Binary,
}

impl Format {
    /// Returns the format that sops assumes by the file's extension.
    pub fn of_path(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            Some("env") => Self::Dotenv,
            Some("ini") => Self::Ini,
            _ => Self::Binary,
        }
    }

    /// Returns the format by the extension, or by the content where the extension says nothing:
    /// people also give sops the type by flag.
    pub(crate) fn of_content(path: &Path, text: &str) -> Self {
        match Self::of_path(path) {
            Self::Binary if text.trim_start().starts_with('{') => Self::Binary,
            Self::Binary if text.starts_with("sops:") || text.contains("\nsops:") => Self::Yaml,
            Self::Binary if text.contains("\nsops_mac=") => Self::Dotenv,
            Self::Binary if text.contains("\n[sops]") => Self::Ini,
            format => format,
        }
    }

    /// Returns the format with the name that sops-nix uses (`sops.secrets.NAME.format`).
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "dotenv" => Self::Dotenv,
            "ini" => Self::Ini,
            "binary" => Self::Binary,
            _ => return None,
        })
    }

    /// Returns the format's name, as `--input-type` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }
}
