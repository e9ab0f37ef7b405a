//! The arguments of `landfall secrets`.

use std::path::PathBuf;

use crate::sops::rules::go_regex;

/// Refuses what sops could not compile.
fn regex(text: &str) -> Result<String, String> {
    go_regex::compile(text).map(|_| text.to_owned())
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum SecretsCommand {
    /// Give a host's key what the host needs: recipient, rules, re-encryption
    #[command(
        after_help = "Example:\n  landfall secrets add-host guppy --key ssh_host_ed25519_key.pub --dry-run"
    )]
    AddHost(AddHostArgs),
    /// Take a host out of all rules and files, and give these new data keys
    #[command(after_help = "Example:\n  landfall secrets remove-host guppy")]
    RemoveHost(RemoveHostArgs),
    /// Give a host another name: anchor, aliases, rules and its own files together
    #[command(after_help = "Example:\n  landfall secrets rename-host guppy pike")]
    RenameHost(RenameHostArgs),
    /// Make a user's age key, store it encrypted, add its recipient
    #[command(after_help = "Example:\n  landfall secrets user-key alice@guppy")]
    UserKey(UserKeyArgs),
    /// Bring files to the recipients of their rules [default: all files]
    #[command(
        visible_alias = "rekey",
        after_help = "Example:\n  landfall secrets updatekeys --check"
    )]
    Updatekeys(UpdatekeysArgs),
    /// Give files new data keys [default: all files]
    #[command(after_help = "Example:\n  landfall secrets rotate sops/shared.yaml")]
    Rotate(RotateArgs),
    /// Prove that a host's key opens all that the host needs
    #[command(after_help = "Example:\n  landfall secrets verify --all")]
    Verify(VerifyArgs),
}

/// What every change takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChangeArgs {
    /// Show the change, write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Ask nothing
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Change files that have uncommitted changes too
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// A recipient that may gain access to files by their rules; --yes never answers that
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) grant: Vec<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AddHostArgs {
    pub(crate) host: String,
    /// The host's SSH public key or age recipient; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// A rule that the host joins, by its path_regex; one that is new is made
    #[arg(long, value_name = "REGEX", value_parser = regex)]
    pub(crate) rule: Vec<String>,
    /// A file that the host needs [default: what its configuration evaluates to]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// The host's name in .sops.yaml
    #[arg(long, value_name = "NAME")]
    pub(crate) anchor: Option<String>,
    /// The host's recipient so far, where .sops.yaml does not tell whose it is
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) old_recipient: Option<String>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RemoveHostArgs {
    pub(crate) host: String,
    /// Keep the data keys: whoever saved one can read what is written later
    #[arg(long)]
    pub(crate) no_rotate: bool,
    /// The host's private SSH key or age identity, to be tried on the files afterwards
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The host's name in .sops.yaml
    #[arg(long, value_name = "NAME")]
    pub(crate) anchor: Option<String>,
    /// The host's recipient, where .sops.yaml does not tell whose it is
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) old_recipient: Option<String>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RenameHostArgs {
    pub(crate) old: String,
    pub(crate) new: String,
    /// The host's name in .sops.yaml
    #[arg(long, value_name = "NAME")]
    pub(crate) anchor: Option<String>,
    /// The host's recipient, where .sops.yaml does not tell whose it is
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) old_recipient: Option<String>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UserKeyArgs {
    #[arg(value_name = "USER@HOST")]
    pub(crate) user: String,
    /// The encrypted file that holds the key [default: where the configuration expects it]
    #[arg(long, value_name = "FILE", requires = "path")]
    pub(crate) file: Option<PathBuf>,
    /// Where in the file, as `keys/age/alice_guppy`
    #[arg(long, value_name = "KEY", requires = "file")]
    pub(crate) path: Option<String>,
    /// A further rule that the key joins, by its path_regex
    #[arg(long, value_name = "REGEX", value_parser = regex)]
    pub(crate) rule: Vec<String>,
    /// The key's name in .sops.yaml [default: USER_HOST]
    #[arg(long, value_name = "NAME")]
    pub(crate) anchor: Option<String>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpdatekeysArgs {
    pub(crate) files: Vec<PathBuf>,
    /// Only say what is out of date; exit code 1 when something is
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RotateArgs {
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct VerifyArgs {
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) host: Option<String>,
    /// Every file: recipients as its rule says, and opened by you
    #[arg(long)]
    pub(crate) all: bool,
    /// The host's private SSH key or age identity; without it the recipients are compared
    #[arg(long, value_name = "FILE", requires = "host")]
    pub(crate) key: Option<PathBuf>,
}
