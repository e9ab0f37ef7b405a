//! Adds a host to a nix-config and a nix-secrets that `landfall init` wrote.
//!
//! Writes the host's own files, and a creation rule copied from that of an existing host.
//! Repositories with another layout are refused, with a list of what a host needs.
//!
//! Invariant: no existing file but `.sops.yaml` changes, and no rule of another host.

use std::path::{Path, PathBuf};

use super::HostSecrets;
use super::templates::{BIOS_MODULE, Firmware, NIX_CONFIG, TemplateValues};
use crate::config::SecretsRepo;
use crate::error::{Advice, Exit, StepError};
use crate::exec::Cmd;
use crate::git::Repo;
use crate::init;
use crate::sops::change::rule_selection;
use crate::sops::proof::identities::{Identities, Places};
use crate::sops::rules::{Rule, Rules, RulesError};

const HOSTS: &str = "hosts/nixos";
/// The paths of nix-config that a host's files refer to.
const REQUIRED: [&str; 5] = [
    "vars.nix",
    HOSTS,
    "hosts/common/core/default.nix",
    "hosts/common/users/default.nix",
    "nixos-installer/minimal-configuration.nix",
];

/// Why a host was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewHostError {
    #[error("{} already exists", .0.display())]
    Exists(PathBuf),
    #[error("{repo} does not have the layout of `landfall init`\n{why}")]
    OtherLayout { repo: String, why: String },
    #[error("{} has uncommitted changes", .0.display())]
    Dirty(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl Advice for NewHostError {
    fn hint(&self) -> String {
        match self {
            Self::Exists(_) => "Nothing is overwritten: choose another name.".into(),
            Self::OtherLayout { .. } => {
                "Add the host by hand. It needs an entry in nixosConfigurations with a disk layout \
                 (disko.devices), sshd with an ed25519 host key, and an import of its hardware \
                 file, which the first bootstrap writes; in the secrets, an encrypted file with \
                 the keys that its sops.secrets name, and a rule for that file in .sops.yaml. \
                 landfall check NAME lists what is missing."
                    .into()
            }
            Self::Dirty(_) => "Commit or discard them first.".into(),
            Self::Io { .. } => "Check the folder's permissions and free space.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Io { .. } => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// The new host's disk, its layout, and the firmware that boots from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostDisk<'a> {
    /// File name in `hosts/common/disks`, without `-disk.nix`.
    pub(crate) layout: &'a str,
    pub(crate) firmware: Firmware,
    /// Path of the disk, best in /dev/disk/by-id.
    pub(crate) device: &'a str,
}

/// A host that can be added.
pub(crate) struct NewHost<'a> {
    pub(crate) name: &'a str,
    pub(crate) disk: HostDisk<'a>,
    /// Root of nix-config.
    pub(crate) config: &'a Path,
    pub(crate) secrets: &'a SecretsRepo,
    /// Primary user of the hosts, from vars.nix.
    pub(crate) user: String,
    /// The text of .sops.yaml with the host's rule.
    rules: String,
}

impl<'a> NewHost<'a> {
    /// Checks everything that could make [`NewHost::write`] fail; changes nothing.
    pub(crate) fn plan(
        name: &'a str,
        disk: HostDisk<'a>,
        config: &'a Path,
        secrets: &'a SecretsRepo,
    ) -> Result<Self, StepError> {
        let layout_file = format!("hosts/common/disks/{}-disk.nix", disk.layout);
        let bios_file = format!("hosts/{BIOS_MODULE}");
        let bios = (disk.firmware == Firmware::Bios).then_some(bios_file.as_str());
        let missing = REQUIRED.into_iter().chain([layout_file.as_str()]).chain(bios);
        let missing: Vec<&str> = missing.filter(|path| !config.join(path).exists()).collect();
        if !missing.is_empty() {
            return Err(other_layout(config, format!("there is no {}", missing.join(", "))).into());
        }
        if secrets.sops_config != Path::new(".sops.yaml") {
            let why = format!("the rules are in {}", secrets.sops_config.display());
            return Err(other_layout(&secrets.dir, why).into());
        }
        let user = user(config)?;
        let folder = config.join(HOSTS).join(name);
        let file = secrets.dir.join(secrets_file(name));
        for path in [&folder, &file] {
            if path.symlink_metadata().is_ok() {
                return Err(NewHostError::Exists(path.clone()).into());
            }
        }
        let sops_config = secrets.dir.join(&secrets.sops_config);
        let dirty = Repo::open(&secrets.dir)?.dirty()?;
        if dirty.contains(&secrets.sops_config) {
            return Err(NewHostError::Dirty(sops_config).into());
        }
        let text = std::fs::read_to_string(&sops_config).map_err(io(&sops_config))?;
        let hosts = directories_in(&config.join(HOSTS)).map_err(io(&config.join(HOSTS)))?;
        let rules = with_rule(&text, &hosts, name).map_err(|why| {
            other_layout(&secrets.dir, format!("{}: {why}", sops_config.display()))
        })?;
        Ok(Self { name, disk, config, secrets, user, rules })
    }

    /// Writes and commits the host: nix-secrets first, because nix-config refers to it. When
    /// nix-secrets fails, its working tree is restored.
    pub(crate) fn write(&self, content: &HostSecrets<'_>) -> Result<(), StepError> {
        let (dir, sops_config) = (&self.secrets.dir, &self.secrets.sops_config);
        let file = PathBuf::from(secrets_file(self.name));
        let before = std::fs::read(dir.join(sops_config)).map_err(io(&dir.join(sops_config)))?;
        let secrets = || -> Result<(), StepError> {
            write_file(&dir.join(sops_config), self.rules.as_bytes())?;
            init::encrypt(dir, self.name, &self.user, content)?;
            let message = format!("Secrets of {}", self.name);
            Repo::open(dir)?.commit_paths(&[sops_config, &file], &message)?;
            Ok(())
        };
        if let Err(error) = secrets() {
            // A rule without its file, or a file without its rule, must not remain.
            let _ = std::fs::write(dir.join(sops_config), before);
            let _ = std::fs::remove_file(dir.join(&file));
            return Err(error);
        }
        let mut written = Vec::new();
        for (path, text) in self.files() {
            write_file(&self.config.join(&path), text.as_bytes())?;
            written.push(path);
        }
        let paths: Vec<&Path> = written.iter().map(PathBuf::as_path).collect();
        let message = format!("Configuration of {}", self.name);
        Repo::open(self.config)?.commit_paths(&paths, &message)?;
        Ok(())
    }

    /// Renders the files of `hosts/nixos/NAME`, as `landfall init` writes them.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let values = TemplateValues {
            host: self.name.to_owned(),
            user: self.user.clone(),
            secrets_url: String::new(),
            layout: self.disk.layout.to_owned(),
            firmware: self.disk.firmware,
            disk: self.disk.device.to_owned(),
            recipients: Vec::new(),
            authorized_keys: String::new(),
        };
        let of_host = NIX_CONFIG.iter().filter(|template| template.path.starts_with(HOSTS));
        of_host.map(|template| template.render(&values)).collect()
    }
}

/// Returns the path of the host's secrets file in nix-secrets.
pub(crate) fn secrets_file(host: &str) -> String {
    format!("sops/{host}.yaml")
}

/// Reads the primary user from vars.nix, as the hosts' modules do.
fn user(config: &Path) -> Result<String, StepError> {
    let vars = config.join("vars.nix");
    let text = Cmd::new("nix-instantiate")
        .args(["--eval", "--strict", "--json"])
        .arg(&vars)
        .deadline(std::time::Duration::from_secs(60))
        .read()?;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    match value.get("username").and_then(|name| name.as_str()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(other_layout(config, "vars.nix has no `username`".into()).into()),
    }
}

fn directories_in(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// Why the rule of an existing host cannot be copied.
#[derive(Debug, thiserror::Error)]
enum CopyRuleError {
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("no rule of an existing host has the form ^sops/HOST\\.yaml$")]
    NoModel,
    #[error("it is not clear which recipients of {rule} are people")]
    NoPeople { rule: String },
    #[error("the copied rule does not have the recipients that it should")]
    WrongRecipients,
}

/// Returns the rules with one more for `host`: a copy of an existing host's rule, whose only
/// recipients are people. The new host's own key is added when it is installed.
fn with_rule(text: &str, hosts: &[String], host: &str) -> Result<String, CopyRuleError> {
    let rules = Rules::parse(text)?;
    let all = rules.rules()?;
    let regex = |host: &str| format!("^sops/{host}\\.yaml$");
    let of_a_host =
        |rule: &&Rule<'_>| hosts.iter().any(|host| rule.path_regex == Some(regex(host).as_str()));
    let model = all.iter().rev().find(of_a_host);
    let model = model.ok_or(CopyRuleError::NoModel)?;
    let operator = Identities::of_operator(&Places::of_process()).recipients();
    let people = rule_selection::people(&rules, &all, &operator);
    let recipients: Vec<&str> =
        model.recipients().into_iter().filter(|key| people.iter().any(|p| p == key)).collect();
    if recipients.is_empty() {
        return Err(CopyRuleError::NoPeople { rule: model.name() });
    }

    let start = text[..model.node.start()].rfind('\n').map_or(0, |end| end + 1);
    let end = text[..model.node.span.end].trim_end().len();
    let block = &text[start..end];
    let key_of = |line: &str| {
        let key = line.trim().strip_prefix("- ")?.split_whitespace().next()?;
        let named = |name: &str| {
            let anchored = rules.anchored().into_iter();
            let mut named = anchored.filter(|node| {
                node.anchor.as_ref().is_some_and(|anchor| anchor.plain_name() == name)
            });
            named.next()?.scalar().map(|key| key.trim().to_owned())
        };
        match key.strip_prefix('*') {
            Some(name) => named(name),
            None => key.starts_with("age1").then(|| key.to_owned()),
        }
    };
    let model_regex = model.path_regex.unwrap_or_default();
    let lines = block
        .lines()
        .filter(|line| key_of(line).is_none_or(|key| recipients.contains(&key.as_str())));
    let new: Vec<String> = lines.map(|line| line.replace(model_regex, &regex(host))).collect();
    let added = format!("{}\n{}{}", &text[..end], new.join("\n"), &text[end..]);
    check_recipients(&added, host, &recipients)?;
    Ok(added)
}

/// Reads the edited rules as sops will, and checks who gets access to the host's secrets.
fn check_recipients(text: &str, host: &str, expected: &[&str]) -> Result<(), CopyRuleError> {
    let rules = Rules::parse(text)?;
    let rule = rules.rule_for(Path::new(&secrets_file(host)))?;
    let recipients = rule.as_ref().map(Rule::recipients).unwrap_or_default();
    if recipients == expected { Ok(()) } else { Err(CopyRuleError::WrongRecipients) }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), NewHostError> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(path, bytes)).map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> NewHostError + '_ {
    move |source| NewHostError::Io { path: path.to_owned(), source }
}

fn other_layout(repo: &Path, why: String) -> NewHostError {
    NewHostError::OtherLayout { repo: repo.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSON: &str = "age1x2j5d6vmdtdyfrxqmnqfvdmx9mnl0ktvsdmqejqlhaczuam2cfgsm6fp7p";
    const HOST: &str = "age19jduzyu8y0w2gnp00ae7am5z2rxyst4vv688jgrtppwufurh2sys64el0t";

    fn text() -> String {
        format!(
            "# Who\nkeys:\n  - &user_alice {PERSON}\n  - &guppy {HOST}\n\ncreation_rules:\n  \
             - path_regex: ^sops/guppy\\.yaml$\n    key_groups:\n      - age:\n          \
             - *user_alice # me\n          - *guppy\n\n  - path_regex: .*\n    key_groups:\n      \
             - age:\n          - *user_alice\n"
        )
    }

    #[test]
    fn the_rule_of_a_host_is_copied_without_its_key_and_before_a_catch_all() {
        let added = with_rule(&text(), &["guppy".into()], "molly").unwrap();
        let rule = "  - path_regex: ^sops/molly\\.yaml$\n    key_groups:\n      - age:\n          \
                    - *user_alice # me\n";
        assert!(added.contains(rule), "{added}");
        assert!(added.find(rule) < added.find(".*"), "{added}");
        assert_eq!(added.replace(rule, ""), text());
    }

    #[test]
    fn rules_of_another_layout_are_refused() {
        let other = text().replace("^sops/guppy\\.yaml$", "secrets/.*");
        assert!(with_rule(&other, &["guppy".into()], "molly").is_err());
        let flow = "creation_rules: [{path_regex: '^sops/guppy\\.yaml$', age: 'age1x'}]\n";
        assert!(with_rule(flow, &["guppy".into()], "molly").is_err());
    }
}
