//! What goes wrong between a repo and its secrets, with the file it is about.

use std::path::{Path, PathBuf};

use super::repo::RepoError;
use super::transaction::WriteError;
use crate::error::{Advice, Exit};
use crate::exec::quote;
use crate::sops::access::Gain;
use crate::sops::file::FileError;
use crate::sops::program::SopsProgramError;
use crate::sops::rules::RulesError;
use crate::sops::rules::edit::EditError;
use crate::sops::rules::new_rule::regex_for;

#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    #[error("{}: {source}", .path.display())]
    Rules { path: PathBuf, source: Box<RulesError> },
    #[error("{}: {source}", .path.display())]
    Edit { path: PathBuf, source: Box<EditError> },
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: Box<FileError>, searched: Vec<String> },
    #[error("{}: {source}", .path.display())]
    Sops { path: PathBuf, source: Box<SopsProgramError>, by_hand: String },
    #[error("{} cannot be read: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the host needs {}, which does not exist", .0.display())]
    Missing(PathBuf),
    #[error("the host needs {}, which is not below the folder of .sops.yaml", .0.display())]
    Outside(PathBuf),
    #[error("{} falls to {rule}, whose keys cannot be written into a rule of its own", .path.display())]
    OtherKinds { path: PathBuf, rule: String },
    #[error("{} falls to {}, which is nearer to it", .path.display(), .config.display())]
    Nested { path: PathBuf, config: PathBuf },
    #[error("a rule {regex} would take {} over from {holds}, and the readers differ from those of other files that it would take", .path.display())]
    TakesOver { regex: String, path: PathBuf, holds: String },
    #[error("{}", ungranted(.0))]
    Ungranted(Vec<Gain>),
    #[error("{}: {key} is a value, but a map is expected there", .path.display())]
    NotAMap { path: PathBuf, key: String },
    #[error("{}: {key} is there already and is not an age key", .path.display())]
    NotAKey { path: PathBuf, key: String },
    #[error("{} is not encrypted to the recipients of its rule: it {difference}", .path.display())]
    OutOfDate { path: PathBuf, difference: String },
    #[error("{} is not encrypted to {host}: it lacks {recipient}", .path.display())]
    NotForHost { path: PathBuf, host: String, recipient: String },
    #[error(transparent)]
    Repo(#[from] RepoError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Advice for SopsError {
    fn hint(&self) -> String {
        match self {
            Self::Rules { source, .. } => source.hint(),
            Self::Edit { source, .. } => source.hint(),
            Self::File { source, searched, .. }
                if matches!(**source, FileError::NoIdentity { .. }) =>
            {
                format!("{} Searched: {}.", source.hint(), searched.join("; "))
            }
            Self::File { source, .. } => source.hint(),
            Self::Sops { source, by_hand, .. } if matches!(**source, SopsProgramError::Missing) => {
                format!("Install sops, or do it where sops is: {by_hand}")
            }
            Self::Sops { source, by_hand, .. } => {
                format!("{} By hand: {by_hand}", source.hint())
            }
            Self::Read { .. } => "Make the file readable, then run the same command again.".into(),
            Self::Missing(_) => {
                "Create it with sops, or correct sopsFile in the configuration.".into()
            }
            Self::Outside(_) => "Name the right .sops.yaml in landfall.toml.".into(),
            Self::OtherKinds { path, rule } => format!(
                "Write a rule for it by hand, above {rule}: path_regex: {} with the same keys. Then \
                 run the same command again.",
                regex_for(&path.to_string_lossy())
            ),
            Self::Nested { config, .. } => {
                let dir = config.parent().unwrap_or(Path::new("."));
                format!("Give it access there: landfall -C {} secrets …", dir.display())
            }
            Self::TakesOver { holds, .. } => {
                format!("Name that rule, or one that holds for fewer files: --rule REGEX ({holds})")
            }
            Self::Ungranted(gains) => {
                let mut flags: Vec<String> =
                    gains.iter().map(|gain| format!("--grant {}", quote(&gain.key.id))).collect();
                flags.dedup();
                flags.sort();
                flags.dedup();
                format!(
                    "If they may: {}. If not, somebody's change of .sops.yaml is to be taken back: \
                     git log -p -- .sops.yaml",
                    flags.join(" ")
                )
            }
            Self::NotAMap { path, .. } | Self::NotAKey { path, .. } => {
                format!(
                    "Look at it: sops {}. Or name another place: --file FILE --path KEY",
                    path.display()
                )
            }
            Self::OutOfDate { .. } => "Bring it up to date: landfall secrets updatekeys".into(),
            Self::NotForHost { path, host, .. } => format!(
                "Let the host in: landfall secrets add-host {host} --key FILE --file {}. Where its \
                 rule names the host already: landfall secrets updatekeys",
                path.display()
            ),
            Self::Repo(error) => error.hint(),
            Self::Write(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Sops { source, .. } => source.exit(),
            Self::Read { .. } | Self::OutOfDate { .. } | Self::NotForHost { .. } => Exit::Failed,
            Self::Ungranted(_) => Exit::Person,
            Self::Repo(error) => error.exit(),
            Self::Write(error) => error.exit(),
            _ => Exit::Usage,
        }
    }
}

/// Says on the first line what is the matter, then each file with who would gain it.
fn ungranted(gains: &[Gain]) -> String {
    let lines = gains.iter().map(|gain| format!("\n{gain}"));
    format!(
        "the rules let others open files that they cannot open so far{}",
        lines.collect::<String>()
    )
}
