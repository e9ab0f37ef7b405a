//! `landfall init`: a nix-config and a nix-secrets ready to use.
//!
//! What the repositories are made of is asked or taken from flags before anything
//! is written; the writing itself is [`crate::init`]'s.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::config::HostName;
use crate::error::{Advice, Exit, StepError};
use crate::exec::quote;
use crate::init;
use crate::init::operator_keys;
use crate::init::operator_keys::{OperatorIdentity, OperatorKeyError};
use crate::init::templates::{Firmware, TemplateValues};
use crate::init::{Scaffold, ScaffoldError, config_dir, secrets_dir};
use crate::nix::flake_ref::{flake_input_url, is_remote};
use crate::secret::password;
use crate::secret::{Secret, create_private_dir, write_private};
use crate::ui::Screen;
use crate::ui::clean::Cleaned;
use crate::ui::prompt::{PromptError, Prompter, Question, prompter};

/// What `init` can be told beforehand.
#[derive(Debug, Clone, Args)]
pub(crate) struct InitArgs {
    /// Folder that gets nix-config and nix-secrets
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,

    /// Name of the first host
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,

    /// Primary user of the hosts [default: the current user]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Public SSH keys that may log in; repeatable [default: ~/.ssh/id_ed25519.pub]
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_key: Vec<PathBuf>,

    /// Public age key that may edit the secrets; repeatable [default: sops' own key file, made when missing]
    #[arg(long, value_name = "AGE")]
    pub(crate) age_recipient: Vec<String>,

    /// The user's password in the first line of a file [default: one is made up]
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Layout of the host's disk
    #[arg(long, value_enum, value_name = "LAYOUT", default_value_t = Layout::BtrfsLuks)]
    pub(crate) layout: Layout,

    /// What starts the host
    #[arg(long, value_enum, value_name = "FIRMWARE", default_value_t = Firmware::Uefi)]
    pub(crate) firmware: Firmware,

    /// Disk of the host, best by its name in /dev/disk/by-id
    #[arg(long, value_name = "DEVICE", default_value = "/dev/vda")]
    pub(crate) disk: String,

    /// Git remote of nix-config
    #[arg(long, value_name = "URL")]
    pub(crate) remote: Option<String>,

    /// Git remote of nix-secrets, from which the hosts' configurations take it
    #[arg(long, value_name = "URL")]
    pub(crate) secrets_remote: Option<String>,

    /// Ask nothing
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The layouts in `hosts/common/disks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// Not encrypted
    Ext4,
    /// Not encrypted
    Btrfs,
    /// Encrypted
    BtrfsLuks,
    /// Encrypted, and / empty again after every boot
    BtrfsLuksImpermanence,
}

impl Layout {
    /// Its file in `hosts/common/disks`, without `-disk.nix`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::BtrfsLuks => "btrfs-luks",
            Self::BtrfsLuksImpermanence => "btrfs-luks-impermanence",
        }
    }
}

/// Why `init` wrote nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("{flag} {value}: {why}")]
    Invalid { flag: &'static str, value: String, why: &'static str },
    #[error("{} cannot be used: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} holds no password: {why}", path.display())]
    Password { path: PathBuf, why: &'static str },
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    #[error("there is no home folder to keep keys in")]
    NoHome,
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Operator(#[from] OperatorKeyError),
    #[error(transparent)]
    Scaffold(#[from] ScaffoldError),
}

impl Advice for InitError {
    fn hint(&self) -> String {
        match self {
            Self::Invalid { flag, .. } => format!("Give another value for {flag}."),
            Self::File { .. } => "Check the path and its permissions.".into(),
            Self::Password { .. } => {
                "Put the password alone in the file's first line, or leave --password-file out."
                    .into()
            }
            Self::Hash(_) => "Free some memory and run the same command again.".into(),
            Self::NoHome => "Set HOME.".into(),
            Self::Prompt(error) => error.hint(),
            Self::Operator(error) => error.hint(),
            Self::Scaffold(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Hash(_) => Exit::Failed,
            Self::Prompt(error) => error.exit(),
            Self::Operator(error) => error.exit(),
            Self::Scaffold(error) => error.exit(),
            _ => Exit::Usage,
        }
    }
}

/// Asks what no flag told, writes the repositories, and prints what comes next.
pub(crate) fn run(args: &InitArgs, screen: Screen) -> Result<Exit, StepError> {
    let prompter = prompter(args.yes, screen);
    let report = init(args, prompter.as_ref())?;
    // The repositories are there, whether or not somebody reads about it.
    let _ = Cleaned::new(std::io::stdout()).write_all(report.as_bytes());
    Ok(Exit::Done)
}

fn init(args: &InitArgs, prompter: &dyn Prompter) -> Result<String, InitError> {
    let home = std::env::home_dir().filter(|home| home.is_absolute()).ok_or(InitError::NoHome)?;
    let dir = absolute(&args.dir)?;
    let given = Given::gather(args, prompter, &home)?;
    init::check(&dir)?;

    let identity = match args.age_recipient.is_empty() {
        true => Some(operator_keys::read_or_generate(&operator_keys::identity_path(&home))?),
        false => None,
    };
    let (password, kept) = match given.password {
        Some(password) => (password, None),
        None => {
            let (password, path) = make_password(&given.user, &given.host, &home)?;
            (password, Some(path))
        }
    };
    let scaffold = Scaffold {
        values: TemplateValues {
            secrets_url: flake_input_url(args.secrets_remote.as_deref(), &secrets_dir(&dir)),
            recipients: match &identity {
                Some(identity) => identity.recipients.clone(),
                None => args.age_recipient.clone(),
            },
            layout: args.layout.name().to_owned(),
            firmware: args.firmware,
            disk: args.disk.clone(),
            host: given.host,
            user: given.user,
            authorized_keys: given.authorized_keys,
        },
        password_hash: password::hash(&password)
            .map_err(|error| InitError::Hash(error.to_string()))?,
        sample: password::generate(),
        config_remote: args.remote.clone(),
        secrets_remote: args.secrets_remote.clone(),
        identity: identity.as_ref().map(|identity| identity.path.clone()),
        dir,
    };
    scaffold.write()?;
    Ok(report(&scaffold, identity.as_ref(), kept.as_deref()))
}

/// What flags and questions gave, checked.
struct Given {
    host: String,
    user: String,
    authorized_keys: String,
    password: Option<Secret>,
}

impl Given {
    fn gather(args: &InitArgs, prompter: &dyn Prompter, home: &Path) -> Result<Self, InitError> {
        let question = Question::new("Name of the first host", "--host NAME");
        let host = answer(args.host.as_deref(), prompter, &question, None)?;
        check(
            HostName::of_new_host(&host).is_ok(),
            "--host",
            &host,
            "not a host name (letters, digits, hyphens)",
        )?;
        let question = Question::new("Primary user", "--user USER");
        let user = answer(args.user.as_deref(), prompter, &question, login_name().as_deref())?;
        check(is_user_name(&user), "--user", &user, "not a user's login name")?;
        check(is_device(&args.disk), "--disk", &args.disk, "not the path of a device")?;
        for recipient in &args.age_recipient {
            operator_keys::check_recipient(recipient)?;
        }
        let remotes = [("--remote", &args.remote), ("--secrets-remote", &args.secrets_remote)];
        for (flag, url) in remotes {
            let url = url.as_deref().unwrap_or("/");
            check(is_remote(url), flag, url, "not the URL of a git remote")?;
        }
        Ok(Self {
            host,
            user,
            authorized_keys: authorized_keys(&args.ssh_key, prompter, home)?,
            password: args.password_file.as_deref().map(read_password).transpose()?,
        })
    }
}

fn answer(
    flag_value: Option<&str>,
    prompter: &dyn Prompter,
    question: &Question,
    default: Option<&str>,
) -> Result<String, PromptError> {
    match flag_value {
        Some(value) => Ok(value.to_owned()),
        None => prompter.text(question, default),
    }
}

fn check(holds: bool, flag: &'static str, value: &str, why: &'static str) -> Result<(), InitError> {
    if holds {
        return Ok(());
    }
    Err(InitError::Invalid { flag, value: value.to_owned(), why })
}

/// Whether a host can have this name and this disk.
pub(crate) fn check_names(host: &str, disk: &str) -> Result<(), InitError> {
    check(
        HostName::of_new_host(host).is_ok(),
        "NAME",
        host,
        "not a host name (letters, digits, hyphens)",
    )?;
    check(is_device(disk), "--disk", disk, "not the path of a device")
}

fn is_user_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    (1..=31).contains(&name.len())
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || c.is_ascii_digit() || c == '-')
        && name != "root"
}

fn is_device(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:+".contains(c);
    path.strip_prefix("/dev/").is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain))
}

fn login_name() -> Option<String> {
    std::env::var("USER").ok().filter(|name| is_user_name(name))
}

fn absolute(path: &Path) -> Result<PathBuf, InitError> {
    std::path::absolute(path).map_err(|source| InitError::File { path: path.to_owned(), source })
}

fn authorized_keys(
    files: &[PathBuf],
    prompter: &dyn Prompter,
    home: &Path,
) -> Result<String, InitError> {
    if !files.is_empty() {
        return Ok(files
            .iter()
            .map(|f| operator_keys::authorized_keys(f))
            .collect::<Result<_, _>>()?);
    }
    let usual = home.join(".ssh/id_ed25519.pub");
    let usual = usual.is_file().then(|| usual.to_string_lossy().into_owned());
    let question = Question::new("Public SSH key that may log in", "--ssh-key FILE");
    let file = prompter.text(&question, usual.as_deref())?;
    // No shell has seen what was typed here.
    let file = file.strip_prefix("~/").map_or_else(|| PathBuf::from(&file), |rest| home.join(rest));
    Ok(operator_keys::authorized_keys(&file)?)
}

/// The password in the first line of a file.
pub(crate) fn read_password(path: &Path) -> Result<Secret, InitError> {
    let bytes =
        std::fs::read(path).map_err(|source| InitError::File { path: path.to_owned(), source })?;
    let refuse = |why| InitError::Password { path: path.to_owned(), why };
    let text = Secret::new(bytes);
    let text = text.expose_str().ok_or_else(|| refuse("it is not text"))?;
    let password = text.strip_suffix('\n').unwrap_or(text);
    match password {
        "" => Err(refuse("it is empty")),
        _ if password.contains(['\n', '\r', '\0']) => Err(refuse("it has more than one line")),
        _ => Ok(Secret::from(password.to_owned())),
    }
}

/// A new password, on disk before it is used.
pub(crate) fn make_password(
    user: &str,
    host: &str,
    home: &Path,
) -> Result<(Secret, PathBuf), InitError> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let dir = state.unwrap_or_else(|| home.join(".local/state")).join("landfall");
    let path = dir.join(format!("password-{user}@{host}"));
    let password = password::generate();
    let mut line = password.expose().to_vec();
    line.push(b'\n');
    create_private_dir(&dir)
        .and_then(|()| write_private(&path, Secret::new(line).expose()))
        .map_err(|source| InitError::File { path: path.clone(), source })?;
    Ok((password, path))
}

/// What was made, and the commands that come next.
fn report(
    scaffold: &Scaffold,
    identity: Option<&OperatorIdentity>,
    password: Option<&Path>,
) -> String {
    let (config, secrets) = (config_dir(&scaffold.dir), secrets_dir(&scaffold.dir));
    let (host, user) = (&scaffold.values.host, &scaffold.values.user);
    let mut text = format!(
        "{}  the configuration of {host}\n{}  its secrets, encrypted\n",
        config.display(),
        secrets.display()
    );
    if let Some(identity) = identity.filter(|identity| identity.generated) {
        text += &format!(
            "{}  your new age identity: it opens the secrets, keep a copy\n",
            identity.path.display()
        );
    }
    if let Some(path) = password {
        text += &format!("{}  the password made up for {user}\n", path.display());
    }
    let config = quote(&config.to_string_lossy());
    let secrets = quote(&secrets.to_string_lossy());
    text += "\nNext:\n";
    match &scaffold.secrets_remote {
        Some(_) => text += &format!("  git -C {secrets} push -u origin main\n"),
        None => text += "  (nix-secrets has no remote yet; see inputs.nix-secrets in flake.nix)\n",
    }
    text += &format!(
        "  cd {config}\n  nix flake lock && nix flake lock ./nixos-installer\n  git add --all && \
         git commit -m 'Lock the inputs'\n"
    );
    if scaffold.config_remote.is_some() {
        text += "  git push -u origin main\n";
    }
    text + &format!(
        "  landfall iso build        and start the machine from it\n  landfall check {host} \
         root@ADDRESS\n  landfall bootstrap {host} root@ADDRESS\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["guppy", "node-1", "x", "9"] {
            assert!(check_names(good, "/dev/vda").is_ok(), "{good}");
        }
        for bad in ["", "Guppy", "a.b", "-a", "a-", "a b", "iso", "a\"", &"x".repeat(64)] {
            assert!(check_names(bad, "/dev/vda").is_err(), "{bad}");
        }
        assert!(is_user_name("_anna-2") && is_user_name("bob"));
        for bad in ["", "root", "2anna", "Anna", "a b", "a$b", "a\"b"] {
            assert!(!is_user_name(bad), "{bad}");
        }
        assert!(is_device("/dev/disk/by-id/nvme-Samsung_SSD_990_PRO_S7KGNU0X"));
        for bad in ["sda", "/dev/", "/dev/a b", "/dev/${x}", "/dev/\""] {
            assert!(!is_device(bad), "{bad}");
        }
    }

    #[test]
    fn a_password_file_holds_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_password(&path)
        };
        assert_eq!(read(b" correct horse \n").unwrap().expose(), b" correct horse ");
        for bad in [&b""[..], b"\n", b"two\nlines\n", b"dos\r\n", b"\xff\n"] {
            assert!(matches!(read(bad), Err(InitError::Password { .. })), "{bad:?}");
        }
    }
}
