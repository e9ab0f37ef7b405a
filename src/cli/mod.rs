//! The command line: clap types only.

pub mod abandon;
pub mod bootstrap;
pub mod check;
pub mod host;
pub mod init;
pub mod install;
pub mod iso;
pub mod keys;
pub mod log;
pub mod passphrase;
pub mod plan;
pub mod secrets;
pub mod session;
pub mod ssh;
pub mod status;
pub mod sync;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::run::step::StepId;

/// From a blank machine to your complete NixOS configuration, secrets included.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, max_term_width = 100)]
pub struct Cli {
    /// The nix-config repository to work in
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,

    /// Settings file [default: landfall.toml at the root of nix-config]
    #[arg(long, value_name = "FILE", global = true)]
    pub settings: Option<PathBuf>,

    /// Write everything that nix says into the run's log
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// How events are printed
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT", global = true)]
    pub log_format: crate::ui::LogFormat,

    /// When to use colour
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN", global = true)]
    pub color: crate::ui::ColorChoice,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole journey; goes on where an earlier run of HOST stopped
    #[command(
        after_help = "Example:\n  landfall bootstrap guppy root@192.168.1.20 --luks-passphrase-file ~/guppy.pass"
    )]
    Bootstrap(BootstrapArgs),

    /// The plan of a bootstrap, nothing done
    #[command(after_help = "Example:\n  landfall plan guppy root@192.168.1.20 --format mermaid")]
    Plan(PlanArgs),

    /// Any flake's system onto a machine: what nixos-anywhere does, with its flags
    #[command(
        after_help = "Example:\n  landfall install .#guppy root@192.168.1.20 --erase WD-WX11A12345"
    )]
    Install(Box<crate::cli::install::InstallArgs>),

    /// Preflight alone: config, repositories, secrets, target, disks
    #[command(after_help = "Example:\n  landfall check guppy root@192.168.1.20")]
    Check(CheckArgs),

    /// Runs and their steps, with times
    #[command(after_help = "Example:\n  landfall status guppy --json")]
    Status(crate::cli::status::StatusArgs),

    /// The run's log
    #[command(after_help = "Example:\n  landfall log guppy copy")]
    Log(crate::cli::log::LogArgs),

    /// Forget an unfinished run and say what it left behind
    #[command(after_help = "Examples:\n  landfall abandon guppy\n  landfall abandon guppy --undo")]
    Abandon(AbandonArgs),

    /// Copy the repositories to an installed host; --boot and --switch also activate
    #[command(
        visible_alias = "rebuild",
        after_help = "Examples:\n  landfall sync guppy\n  landfall sync guppy --switch"
    )]
    Sync(crate::cli::sync::SyncArgs),

    /// Change the passphrase of an encrypted disk of an installed host
    #[command(
        after_help = "Examples:\n  landfall passphrase guppy\n  landfall passphrase guppy --volume crypted --new-passphrase-file ~/new.pass"
    )]
    Passphrase(crate::cli::passphrase::PassphraseArgs),

    /// A session on HOST with the key that the run pinned
    #[command(
        after_help = "Examples:\n  landfall ssh guppy -- systemctl --failed\n  landfall ssh guppy --initrd -- systemctl default"
    )]
    Ssh(SshArgs),

    /// Write a nix-config and a nix-secrets, ready to use
    #[command(after_help = "Example:\n  landfall init ~/src --host guppy --user anna")]
    Init(crate::cli::init::InitArgs),

    /// The hosts of a configuration
    #[command(subcommand, after_help = "Example:\n  landfall host add molly")]
    Host(crate::cli::host::HostCommand),

    /// What follows from an SSH host key
    #[command(subcommand, after_help = "Example:\n  landfall keys to-age host.pub")]
    Keys(crate::cli::keys::KeysCommand),

    /// Who may read which secret
    #[command(subcommand, after_help = "Example:\n  landfall secrets verify --all")]
    Secrets(crate::cli::secrets::SecretsCommand),

    /// The installer image
    #[command(subcommand, after_help = "Example:\n  landfall iso build")]
    Iso(IsoCommand),

    /// A completion script for a shell
    #[command(
        after_help = "Example:\n  landfall completions fish > ~/.config/fish/completions/landfall.fish"
    )]
    Completions { shell: clap_complete::Shell },

    /// The manual page
    #[command(after_help = "Example:\n  landfall man > landfall.1")]
    Man,
}

/// HOST and TARGET, in landfall's form or in that of nixos-anywhere.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// Host of the configuration
    #[arg(value_name = "HOST", required_unless_present = "flake")]
    pub host: Option<String>,

    /// `[user@]host[:port]`, `ssh://…`, or a name from ssh_config
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,

    /// The same as HOST, as `PATH#HOST`; what stands alone is then the target
    #[arg(long, value_name = "PATH#HOST")]
    pub flake: Option<String>,

    /// The same as TARGET
    #[arg(long, value_name = "TARGET", conflicts_with = "target")]
    pub target_host: Option<String>,
}

/// How the target is reached.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Private key for the login on the target
    #[arg(short = 'i', long = "identity-file", value_name = "FILE")]
    pub identity_file: Option<PathBuf>,

    /// SSH port of the target
    #[arg(short = 'p', long = "ssh-port", value_name = "PORT")]
    pub port: Option<u16>,

    /// Option for ssh; never one that weakens the check of the host key
    #[arg(long, value_name = "OPTION")]
    pub ssh_option: Vec<String>,

    /// Log in with the password in the environment variable SSHPASS [else: keys, else a question]
    #[arg(long)]
    pub env_password: bool,

    /// File with the password that sudo on the target asks for, or asks USER for
    #[arg(long, value_name = "[USER=]FILE")]
    pub sudo_password_file: Vec<String>,

    /// Host key of the installer [else: known_hosts, else a question]
    #[arg(long, value_name = "SHA256:…")]
    pub installer_fingerprint: Option<String>,

    /// Where the installed system answers, if elsewhere
    #[arg(long, value_name = "ADDRESS")]
    pub installed_address: Option<String>,
}

/// What may happen to disks, and what opens them.
#[derive(Debug, Clone, Default, Args)]
pub struct DiskArgs {
    /// A disk that may be erased: by-id name or serial; with --yes required for each disk of the layout
    #[arg(long, value_name = "DISK")]
    pub erase: Vec<String>,

    /// The layout changed after this run formatted the disks: what happens to them
    #[arg(long, value_enum, value_name = "HOW")]
    pub changed_layout: Option<ChangedLayoutArg>,

    /// File with the passphrase of the encrypted volumes, or of volume NAME
    #[arg(long, value_name = "[NAME=]FILE")]
    pub luks_passphrase_file: Vec<String>,

    /// Command that prints the passphrase, or that of volume NAME
    #[arg(long, value_name = "[NAME=]CMD")]
    pub luks_passphrase_command: Vec<String>,
}

/// How a Linux that runs on the target becomes the installer.
#[derive(Debug, Clone, Default, Args)]
pub struct Kexec {
    /// Image that replaces a running Linux: a tarball of nixos-images
    #[arg(long, value_name = "URL|FILE", conflicts_with = "no_kexec")]
    pub kexec: Option<String>,

    /// The image's SHA-256; fetched without one only over TLS
    #[arg(long, value_name = "HASH", requires = "kexec")]
    pub kexec_sha256: Option<String>,

    /// Never replace a running system: the target must run an installer
    #[arg(long)]
    pub no_kexec: bool,

    /// Further flags for the target's kexec
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub kexec_extra_flags: Option<String>,

    /// Where the installer answers after the kexec [default: as before, else 22]
    #[arg(long, value_name = "PORT")]
    pub post_kexec_ssh_port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    Staged,
    Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HardwareArg {
    /// Use the tracked file as it is
    Keep,
    /// Write what nixos-generate-config reports
    GenerateConfig,
    /// Write what nixos-facter reports
    Facter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActivateArg {
    /// It is booted, and verified then
    Boot,
    /// It takes over on the running machine
    Switch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChangedLayoutArg {
    /// The disks stay as they were formatted
    Keep,
    /// They are erased and formatted again
    Format,
}

/// What a journey does and how; the same for `bootstrap`, `plan` and `check`.
#[derive(Debug, Clone, Args)]
pub struct Journey {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub reach: Reach,

    #[command(flatten)]
    pub kexec: Kexec,

    /// [default: staged when the config's installer flake has HOST, else direct]
    #[arg(long, value_enum)]
    pub strategy: Option<StrategyArg>,

    /// The configuration has no secrets, or they are left alone
    #[arg(long)]
    pub no_secrets: bool,

    /// The device of a disk of the layout, in place of the one that the layout names
    #[arg(long, value_name = "NAME=DEVICE")]
    pub disk: Vec<String>,

    /// Where systems are built: auto, source, target, or the URI of a nix store
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub build_on: crate::config::build_on::BuildOn,

    #[command(flatten)]
    pub disks: DiskArgs,

    /// Value of an encrypted file with the passphrase, or that of volume NAME; FILE lies
    /// in the secrets repository, and a value that is not there yet is made and stored
    #[arg(long, value_name = "[NAME=]FILE:KEY")]
    pub luks_passphrase_secret: Vec<String>,

    /// Primary user on the installed system
    #[arg(long, env = "LANDFALL_USER")]
    pub user: Option<String>,

    /// Use this SSH host key for the installed system [else: the one stored in the secrets
    /// repository, else a new one]
    #[arg(long, value_name = "FILE")]
    pub host_key: Option<PathBuf>,

    /// Keep the private host key in the secrets repository, encrypted for people alone
    #[arg(long)]
    pub host_key_store: bool,

    /// [default: keep when the file is tracked, else generate-config]
    #[arg(long, value_enum)]
    pub hardware: Option<HardwareArg>,

    /// A unit that must be up at the end; other failed units are reported
    #[arg(long, value_name = "UNIT")]
    pub require_unit: Vec<String>,

    /// How the full configuration takes over from the minimal one
    #[arg(long, value_enum, value_name = "HOW", default_value = "boot")]
    pub activate: ActivateArg,

    /// Commit locally, push nothing
    #[arg(long, conflicts_with = "push_branch")]
    pub no_push: bool,

    /// Push to this branch of the remotes
    #[arg(long, value_name = "NAME")]
    pub push_branch: Option<String>,

    /// Do not copy the repositories to the target
    #[arg(long)]
    pub no_repos: bool,

    #[command(flatten)]
    pub installation: crate::config::installation::InstallationArgs,

    #[command(flatten)]
    pub nix: NixOptions,
}

/// Options that go to nix as they are.
#[derive(Debug, Clone, Default, Args)]
pub struct NixOptions {
    /// Replace a flake input, for this run
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"])]
    pub override_input: Vec<String>,

    /// Allow impure evaluation
    #[arg(long)]
    pub impure: bool,

    /// Accept the nixConfig of the flake
    #[arg(long)]
    pub accept_flake_config: bool,

    /// Set a nix option
    #[arg(long, num_args = 2, value_names = ["K", "V"])]
    pub option: Vec<String>,

    /// Show nix's build logs
    #[arg(short = 'L', long)]
    pub print_build_logs: bool,

    /// Show nix's whole traces
    #[arg(long)]
    pub show_trace: bool,
}

impl NixOptions {
    /// The pairs sorted out.
    pub fn to_nix(&self) -> crate::nix::NixOptions {
        let pairs = |words: &[String]| {
            words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
        };
        crate::nix::NixOptions {
            override_inputs: pairs(&self.override_input),
            impure: self.impure,
            accept_flake_config: self.accept_flake_config,
            options: pairs(&self.option),
            print_build_logs: self.print_build_logs,
            show_trace: self.show_trace,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct BootstrapArgs {
    #[command(flatten)]
    pub journey: Journey,

    /// Ask nothing; what needs an answer and has no flag ends the run with exit code 3
    #[arg(long, short = 'y')]
    pub yes: bool,

    /// Show the plan, do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Run only these steps
    #[arg(long, value_name = "STEP", num_args = 1.., conflicts_with_all = ["skip", "until"])]
    pub only: Vec<StepId>,

    /// Leave these steps out
    #[arg(long, value_name = "STEP", num_args = 1..)]
    pub skip: Vec<StepId>,

    /// Stop after this step
    #[arg(long, value_name = "STEP")]
    pub until: Option<StepId>,

    /// Stop before the machine is rebooted
    #[arg(long)]
    pub no_reboot: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    Text,
    Json,
    Mermaid,
    Svg,
}

#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub journey: Journey,

    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    pub format: PlanFormat,

    /// The same as --format json
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub journey: Journey,

    /// Ask nothing, as bootstrap --yes
    #[arg(long, short = 'y')]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct AbandonArgs {
    pub host: String,

    /// Take back what can be: the recipient and the files' data keys, local commits, keys
    #[arg(long)]
    pub undo: bool,

    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SshArgs {
    pub host: String,

    /// Private key for the login
    #[arg(short = 'i', long = "identity-file", value_name = "FILE")]
    pub identity_file: Option<PathBuf>,

    /// SSH port of the host, if another than at the last run
    #[arg(short = 'p', long = "ssh-port", value_name = "PORT")]
    pub port: Option<u16>,

    /// Option for ssh; never one that weakens the check of the host key
    #[arg(long, value_name = "OPTION")]
    pub ssh_option: Vec<String>,

    /// Where the host answers, if elsewhere than at the last run
    #[arg(long, value_name = "ADDRESS")]
    pub installed_address: Option<String>,

    /// The SSH server of the initrd, under its own key: to unlock the disk
    #[arg(long)]
    pub initrd: bool,

    /// What to run there [default: a shell]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum IsoCommand {
    /// Build the installer image of the config
    #[command(
        after_help = "Examples:\n  landfall iso build\n  landfall iso build --customize -o stick.iso\n  landfall iso build --customize -o stick.iso --wifi home"
    )]
    Build(IsoBuildArgs),

    /// Write the image to a removable drive, and read it back
    #[command(
        after_help = "Example:\n  landfall iso flash /dev/disk/by-id/usb-SanDisk_Ultra_Fit_4C53-0:0"
    )]
    Flash(crate::cli::iso::IsoFlashArgs),
}

#[derive(Debug, Clone, Args)]
pub struct IsoBuildArgs {
    /// Attribute of the installer flake that is the image
    #[arg(long, value_name = "ATTR")]
    pub attr: Option<String>,

    /// Copy the image here [default: it stays in the nix store, and its path is printed]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Give the copy an SSH host key of its own, by which later runs know it, and more
    #[arg(long, requires = "output")]
    pub customize: bool,

    /// The host key for --customize [default: a new one for each copy]
    #[arg(long, value_name = "FILE", requires = "customize")]
    pub host_key: Option<PathBuf>,

    /// Public SSH keys for --customize that may log in as root too; repeatable
    #[arg(long, value_name = "FILE", requires = "customize")]
    pub ssh_key: Vec<PathBuf>,

    /// Wi-Fi network that the copy joins, by its name; its passphrase is asked for; repeatable
    #[arg(long, value_name = "NAME", requires = "customize")]
    pub wifi: Vec<OsString>,

    /// The same, for a network that does not show its name
    #[arg(long, value_name = "NAME", requires = "customize")]
    pub wifi_hidden: Vec<OsString>,

    /// File with the passphrase of the Wi-Fi networks, or of network NAME
    #[arg(long, value_name = "[NAME=]FILE", requires = "customize")]
    pub wifi_passphrase_file: Vec<OsString>,

    /// Any other Wi-Fi network (open, with user names, with an address of its own): a file as
    /// in /etc/NetworkManager/system-connections; repeatable
    #[arg(long, value_name = "FILE", requires = "customize")]
    pub wifi_connection: Vec<PathBuf>,

    /// Customize a copy of this image, which was built before
    #[arg(long, value_name = "FILE", requires = "customize", conflicts_with = "attr")]
    pub image: Option<PathBuf>,

    #[command(flatten)]
    pub nix: NixOptions,
}
