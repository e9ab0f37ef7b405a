//! `landfall install`: any flake's system onto a machine, without repositories, secrets
//! or commits. Its flags are nixos-anywhere's; what differs is in docs/nixos-anywhere.md.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Cli;
use super::args::into_config::{flake_of, install_config, installation, nix_options};
use super::args::{ConnectionArgs, DiskArgs, KexecArgs, NixArgs};
use super::args::{InstallationArgs, PhaseArg};
use super::bootstrap::travel;
use super::session::open_run;
use crate::cli::session::open_run::Purpose;
use crate::config::ConfigError;
use crate::config::build_on::BuildOn;
use crate::config::installation;
use crate::config::installation::{Installation, InstallationError, KeptKeys, Transfer};
use crate::config::source::FlakeSystem;
use crate::error::{Exit, StepError};
use crate::journey::Selection;
use crate::nix::{Nix, report_to};
use crate::run::event::Events;
use crate::ui::{Ui, say};

#[derive(Debug, Clone, Args)]
pub(crate) struct InstallArgs {
    /// The system: any flake reference and the name of a host, or the path of its attribute
    #[arg(
        value_name = "FLAKE#ATTR",
        required_unless_present_any = ["flake", "store_paths", "vm_test"]
    )]
    pub(crate) system: Option<String>,

    /// `[user@]host[:port]`, `ssh://…`, or a name from ssh_config
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,

    /// The same as FLAKE#ATTR; what stands alone is then the target
    #[arg(short = 'f', long, value_name = "FLAKE#ATTR")]
    pub(crate) flake: Option<String>,

    /// The same as TARGET
    #[arg(long, value_name = "TARGET", conflicts_with = "target")]
    pub(crate) target_host: Option<String>,

    /// Install what is built already: disko's script, then the system
    #[arg(
        short = 's',
        long,
        num_args = 2,
        value_names = ["DISKO", "SYSTEM"],
        conflicts_with_all = ["flake", "disko_mode", "vm_test"]
    )]
    pub(crate) store_paths: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) kexec: KexecArgs,

    /// Where the system is built: auto, local, remote (as source and target), or the URI of a nix store
    #[arg(long, value_name = "WHERE", default_value = "auto", conflicts_with = "store_paths")]
    pub(crate) build_on: BuildOn,

    /// The same as --build-on remote (deprecated)
    #[arg(long, conflicts_with_all = ["vm_test", "build_on"])]
    pub(crate) build_on_remote: bool,

    #[command(flatten)]
    pub(crate) installation: InstallationArgs,

    /// Leave disko's tools out: the installer must have them
    #[arg(long)]
    pub(crate) no_disko_deps: bool,

    #[command(flatten)]
    pub(crate) disks: DiskArgs,

    /// Keep the host keys of the running system, where the configuration reads them or in DIR
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "host_key"
    )]
    pub(crate) copy_host_keys: Option<String>,

    /// Use this SSH host key for the installed system
    #[arg(long, value_name = "FILE")]
    pub(crate) host_key: Option<PathBuf>,

    /// Who logs in after the reboot [default: the user whom the configuration tells, else root]
    #[arg(long)]
    pub(crate) user: Option<String>,

    /// Write what nixos-generate-config or nixos-facter reports to a file of the flake
    #[arg(long, num_args = 2, value_names = ["BACKEND", "PATH"])]
    pub(crate) generate_hardware_config: Vec<String>,

    /// The target takes nothing from its own substituters
    #[arg(long)]
    pub(crate) no_substitute_on_destination: bool,

    /// The installer is not told the substituters of the configuration
    #[arg(long)]
    pub(crate) no_use_machine_substituters: bool,

    /// A setting in the URL of the target's store; the value is percent-encoded
    #[arg(long, num_args = 2, value_names = ["K", "V"])]
    pub(crate) ssh_store_setting: Vec<String>,

    /// The store that the closures come from, if not this machine's
    #[arg(long, value_name = "STORE-URI")]
    pub(crate) from: Option<String>,

    /// The same as --phases kexec,disko (deprecated)
    #[arg(long, conflicts_with_all = ["phases", "no_reboot"])]
    pub(crate) stop_after_disko: bool,

    /// The same as --phases kexec,disko,install (deprecated)
    #[arg(long, conflicts_with = "phases")]
    pub(crate) no_reboot: bool,

    /// Build and run the configuration's test in a virtual machine; no target is touched
    #[arg(
        long,
        conflicts_with_all = [
            "target_host", "extra_files", "disk_encryption_keys", "generate_hardware_config"
        ]
    )]
    pub(crate) vm_test: bool,

    /// Write everything that nix says into the run's log, and show build logs
    #[arg(long)]
    pub(crate) debug: bool,

    /// Does nothing: terminals are found by themselves (deprecated)
    #[arg(short = 't', long)]
    pub(crate) tty: bool,

    /// Ask nothing; what needs an answer and has no flag ends the run with exit code 3
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) nix: NixArgs,
}

/// What reports the hardware, by the names of nixos-anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HardwareBackend {
    NixosGenerateConfig,
    NixosFacter,
}

pub(crate) fn run(cli: &Cli, args: &InstallArgs) -> Result<Exit, StepError> {
    if std::env::var_os("SSH_PRIVATE_KEY").is_some_and(|key| !key.is_empty()) {
        return Err(StepError::new(
            "SSH_PRIVATE_KEY is not read",
            "every process of yours can read an environment",
            "Give the key's file with -i FILE, or put it into your ssh agent.",
        )
        .exit(Exit::Usage));
    }
    if args.vm_test {
        return vm_test(cli, args);
    }
    let config = install_config(cli, args)?;
    open_run::within_config(cli, config, &args.connection, args.yes, Purpose::Journey, |cx| {
        travel(cx, &Selection::default())
    })
}

impl InstallArgs {
    /// The target: with --flake or --store-paths the only word that stands alone.
    pub(crate) fn target(&self) -> Option<&str> {
        let alone = self.flake.is_some() || !self.store_paths.is_empty();
        let positional = if alone { self.system.as_ref() } else { self.target.as_ref() };
        self.target_host.as_ref().or(positional).map(String::as_str)
    }

    pub(crate) fn build_on(&self) -> BuildOn {
        // What is built already is nobody's to build.
        if !self.store_paths.is_empty() {
            return BuildOn::Source;
        }
        if self.build_on_remote { BuildOn::Target } else { self.build_on.clone() }
    }

    pub(crate) fn installation(&self) -> Result<Installation, InstallationError> {
        let mut shared = self.installation.clone();
        if self.stop_after_disko {
            shared.phases = vec![PhaseArg::Kexec, PhaseArg::Disko];
        }
        if self.no_reboot {
            shared.phases = vec![PhaseArg::Kexec, PhaseArg::Disko, PhaseArg::Install];
        }
        let store_settings = self
            .ssh_store_setting
            .chunks_exact(2)
            .map(|pair| installation::store_setting(&pair[0], &pair[1]))
            .collect::<Result<_, _>>()?;
        Ok(Installation {
            disko_deps: !self.no_disko_deps,
            kept_keys: self.copy_host_keys.as_deref().map(str::parse::<KeptKeys>).transpose()?,
            transfer: Transfer {
                substitute: !self.no_substitute_on_destination,
                machine_substituters: !self.no_use_machine_substituters
                    && !self.no_substitute_on_destination,
                store_settings,
                from: self.from.clone(),
            },
            ..installation(&shared)?
        })
    }

    /// The backend and the absolute path of `--generate-hardware-config`.
    pub(crate) fn hardware(
        &self,
        base: &Path,
    ) -> Result<Option<(HardwareBackend, PathBuf)>, ConfigError> {
        let [backend, path] = self.generate_hardware_config.as_slice() else { return Ok(None) };
        let backend = HardwareBackend::from_str(backend, false)
            .map_err(|_| ConfigError::HardwareBackend(backend.clone()))?;
        let path = base.join(path);
        let unreadable = |source| ConfigError::Read { path: path.clone(), source };
        let name =
            path.file_name().ok_or_else(|| unreadable(std::io::ErrorKind::InvalidInput.into()))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        // The folder need not exist yet, but the part of it that does must not mislead.
        let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        Ok(Some((backend, folder.join(name))))
    }
}

/// `system.build.installTest` of disko: the layout and the boot, tried in a machine of its own.
fn vm_test(cli: &Cli, args: &InstallArgs) -> Result<Exit, StepError> {
    let base = cli.directory.clone().unwrap_or_else(|| ".".into());
    let (FlakeSystem { reference, attr, .. }, _) = flake_of(args, &base)?;
    let mut options = nix_options(&args.nix);
    options.print_build_logs = true;
    let nix = Nix::find(options)?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let ui = Ui::start_beside(cli.log_format, cli.color, receiver);
    let events = Events::new("vm-test", sender);
    let test = format!("{reference}#{attr}.system.build.installTest");
    let built = nix.build(&[&test], &mut report_to(&events));
    ui.finish();
    let built = built
        .map_err(|error| StepError::from(error).doing("the test of the installation failed"))?;
    for path in built {
        say(format!("the installation works in a virtual machine: {path}"));
    }
    Ok(Exit::Done)
}
