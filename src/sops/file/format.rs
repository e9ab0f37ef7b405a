//! The formats that sops knows, by the same names and file endings.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Yaml,
    Json,
    Dotenv,
    Ini,
    /// A JSON envelope around bytes; sops' choice for every other ending.
    Binary,
}

impl Format {
    /// What sops takes a file for when it is not told.
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

    /// Like [`Self::of_path`], but a file whose ending says nothing is looked into:
    /// people name the type to sops by flag.
    pub fn of_content(path: &Path, text: &str) -> Self {
        match Self::of_path(path) {
            Self::Binary if text.trim_start().starts_with('{') => Self::Binary,
            Self::Binary if text.starts_with("sops:") || text.contains("\nsops:") => Self::Yaml,
            Self::Binary if text.contains("\nsops_mac=") => Self::Dotenv,
            Self::Binary if text.contains("\n[sops]") => Self::Ini,
            format => format,
        }
    }

    /// The format that sops-nix calls so (`sops.secrets.NAME.format`).
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "dotenv" => Self::Dotenv,
            "ini" => Self::Ini,
            "binary" => Self::Binary,
            _ => return None,
        })
    }

    /// What `--input-type` takes.
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
