//! Flags that several commands share, and what becomes of them.

pub(crate) mod into_config;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::build_on::BuildOn;
use crate::config::choices::{Activation, ChangedLayout, HardwareSource};
use crate::config::installation::DiskoMode;

/// HOST and TARGET, in landfall's form or in that of nixos-anywhere.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostAndTargetArgs {
    /// Host of the configuration
    #[arg(value_name = "HOST", required_unless_present = "flake")]
    pub(crate) host: Option<String>,

    /// `[user@]host[:port]`, `ssh://…`, or a name from ssh_config
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,

    /// The same as HOST, as `PATH#HOST`; what stands alone is then the target
    #[arg(long, value_name = "PATH#HOST")]
    pub(crate) flake: Option<String>,

    /// The same as TARGET
    #[arg(long, value_name = "TARGET", conflicts_with = "target")]
    pub(crate) target_host: Option<String>,
}

/// How the target is reached.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectionArgs {
    /// Private key for the login on the target
    #[arg(short = 'i', long = "identity-file", value_name = "FILE")]
    pub(crate) identity_file: Option<PathBuf>,

    /// SSH port of the target
    #[arg(short = 'p', long = "ssh-port", value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Option for ssh; never one that weakens the check of the host key
    #[arg(long, value_name = "OPTION")]
    pub(crate) ssh_option: Vec<String>,

    /// Log in with the password in the environment variable SSHPASS [else: keys, else a question]
    #[arg(long)]
    pub(crate) env_password: bool,

    /// File with the password that sudo on the target asks for, or asks USER for
    #[arg(long, value_name = "[USER=]FILE")]
    pub(crate) sudo_password_file: Vec<String>,

    /// Host key of the installer [else: known_hosts, else a question]
    #[arg(long, value_name = "SHA256:…")]
    pub(crate) installer_fingerprint: Option<String>,

    /// Where the installed system answers, if elsewhere
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) installed_address: Option<String>,
}

/// What may happen to disks, and what opens them.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DiskArgs {
    /// A disk that may be erased: by-id name or serial; with --yes required for each disk of the layout
    #[arg(long, value_name = "DISK")]
    pub(crate) erase: Vec<String>,

    /// The layout changed after this run formatted the disks: what happens to them
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) changed_layout: Option<ChangedLayout>,

    /// File with the passphrase of the encrypted volumes, or of volume NAME
    #[arg(long, value_name = "[NAME=]FILE")]
    pub(crate) luks_passphrase_file: Vec<String>,

    /// Command that prints the passphrase, or that of volume NAME
    #[arg(long, value_name = "[NAME=]CMD")]
    pub(crate) luks_passphrase_command: Vec<String>,
}

/// How a Linux that runs on the target becomes the installer.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KexecArgs {
    /// Image that replaces a running Linux: a tarball of nixos-images
    #[arg(long, value_name = "URL|FILE", conflicts_with = "no_kexec")]
    pub(crate) kexec: Option<String>,

    /// The image's SHA-256; fetched without one only over TLS
    #[arg(long, value_name = "HASH", requires = "kexec")]
    pub(crate) kexec_sha256: Option<String>,

    /// Never replace a running system: the target must run an installer
    #[arg(long)]
    pub(crate) no_kexec: bool,

    /// Further flags for the target's kexec
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub(crate) kexec_extra_flags: Option<String>,

    /// Where the installer answers after the kexec [default: as before, else 22]
    #[arg(long, value_name = "PORT")]
    pub(crate) post_kexec_ssh_port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArg {
    Staged,
    Direct,
}

/// What a journey does and how; the same for `bootstrap`, `plan` and `check`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct JourneyArgs {
    #[command(flatten)]
    pub(crate) machine: HostAndTargetArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) kexec: KexecArgs,

    /// [default: staged when the config's installer flake has HOST, else direct]
    #[arg(long, value_enum)]
    pub(crate) strategy: Option<StrategyArg>,

    /// The configuration has no secrets, or they are left alone
    #[arg(long)]
    pub(crate) no_secrets: bool,

    /// A recipient that may gain access to files of the secrets, besides this host's own;
    /// --yes never answers that
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) grant: Vec<String>,

    /// The device of a disk of the layout, in place of the one that the layout names
    #[arg(long, value_name = "NAME=DEVICE")]
    pub(crate) disk: Vec<String>,

    /// Where systems are built: auto, source, target, or the URI of a nix store
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub(crate) build_on: BuildOn,

    #[command(flatten)]
    pub(crate) disks: DiskArgs,

    /// Value of an encrypted file with the passphrase, or that of volume NAME; FILE lies
    /// in the secrets repository, and a value that is not there yet is made and stored
    #[arg(long, value_name = "[NAME=]FILE:KEY")]
    pub(crate) luks_passphrase_secret: Vec<String>,

    /// Primary user on the installed system
    #[arg(long, env = "LANDFALL_USER")]
    pub(crate) user: Option<String>,

    /// Use this SSH host key for the installed system [else: the one stored in the secrets
    /// repository, else a new one]
    #[arg(long, value_name = "FILE")]
    pub(crate) host_key: Option<PathBuf>,

    /// Keep the private host key in the secrets repository, encrypted for people alone
    #[arg(long)]
    pub(crate) host_key_store: bool,

    /// [default: keep when the file is tracked, else generate-config]
    #[arg(long, value_enum)]
    pub(crate) hardware: Option<HardwareSource>,

    /// A unit that must be up at the end; other failed units are reported
    #[arg(long, value_name = "UNIT")]
    pub(crate) require_unit: Vec<String>,

    /// How the full configuration takes over from the minimal one
    #[arg(long, value_enum, value_name = "HOW", default_value = "boot")]
    pub(crate) activate: Activation,

    /// Commit locally, push nothing
    #[arg(long, conflicts_with = "push_branch")]
    pub(crate) no_push: bool,

    /// Push to this branch of the remotes
    #[arg(long, value_name = "NAME")]
    pub(crate) push_branch: Option<String>,

    /// Do not copy the repositories to the target
    #[arg(long)]
    pub(crate) no_repos: bool,

    #[command(flatten)]
    pub(crate) installation: InstallationArgs,

    #[command(flatten)]
    pub(crate) nix: NixArgs,
}

/// Options that go to nix as they are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NixArgs {
    /// Replace a flake input, for this run
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"])]
    pub(crate) override_input: Vec<String>,

    /// Allow impure evaluation
    #[arg(long)]
    pub(crate) impure: bool,

    /// Accept the nixConfig of the flake
    #[arg(long)]
    pub(crate) accept_flake_config: bool,

    /// Set a nix option
    #[arg(long, num_args = 2, value_names = ["K", "V"])]
    pub(crate) option: Vec<String>,

    /// Show nix's build logs
    #[arg(short = 'L', long)]
    pub(crate) print_build_logs: bool,

    /// Show nix's whole traces
    #[arg(long)]
    pub(crate) show_trace: bool,
}

/// Flags that `bootstrap`, `plan`, `check` and `install` share.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InstallationArgs {
    /// Only these parts of the installation: kexec, disko, install, reboot
    #[arg(long, value_name = "PHASE,..", value_delimiter = ',')]
    pub(crate) phases: Vec<PhaseArg>,

    /// disko: erase, format and mount; format: make what is missing, then mount; mount: only mount
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) disko_mode: Option<DiskoMode>,

    /// What is in this folder is copied to the root of the new system, owned by root
    #[arg(long, value_name = "DIR")]
    pub(crate) extra_files: Option<PathBuf>,

    /// A file that disko reads in the installer, from a file here; gone when disko has ended
    #[arg(long, num_args = 2, value_names = ["REMOTE", "LOCAL"])]
    pub(crate) disk_encryption_keys: Vec<String>,

    /// Owner of a file or folder of the new system and all below it, as numbers
    #[arg(long, num_args = 2, value_names = ["PATH", "UID:GID"])]
    pub(crate) chown: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PhaseArg {
    Kexec,
    Disko,
    Install,
    Reboot,
}

impl JourneyArgs {
    /// Names a host and leaves every other choice at its default.
    pub(crate) fn of_host(host: &str) -> Self {
        let machine = HostAndTargetArgs { host: Some(host.to_owned()), ..Default::default() };
        Self { machine, ..Self::default() }
    }
}
