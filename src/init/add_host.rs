//! One more host in a nix-config and a nix-secrets that `landfall init` wrote.
//!
//! Written are files that were not there, and one rule, laid out as that of a host which
//! is there already. What is laid out otherwise is not guessed at: then it is said what a
//! host needs. Nothing of the other hosts changes.

use std::path::{Path, PathBuf};

use super::HostSecrets;
use super::templates::{BIOS, Firmware, NIX_CONFIG, Values};
use crate::config::SecretsRepo;
use crate::error::{Advice, Exit, StepError};
use crate::exec::Cmd;
use crate::git::Repo;
use crate::init;
use crate::sops::change::rule_selection;
use crate::sops::proof::identities::{Identities, Places};
use crate::sops::rules::{Rule, Rules};

const HOSTS: &str = "hosts/nixos";
/// What the files of a host refer to.
const SHAPE: [&str; 5] = [
    "vars.nix",
    HOSTS,
    "hosts/common/core/default.nix",
    "hosts/common/users/default.nix",
    "nixos-installer/minimal-configuration.nix",
];

/// Why the host was not added.
#[derive(Debug, thiserror::Error)]
pub enum NewHostError {
    #[error("{} is already there", .0.display())]
    Exists(PathBuf),
    #[error("{repo} is not laid out as `landfall init` lays it out\n{why}")]
    Foreign { repo: String, why: String },
    #[error("{} has changes that are not committed", .0.display())]
    Dirty(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl Advice for NewHostError {
    fn hint(&self) -> String {
        match self {
            Self::Exists(_) => "Nothing is overwritten: choose another name.".into(),
            Self::Foreign { .. } => {
                "What a host needs: an entry in nixosConfigurations; a disk layout (disko.devices) \
                 and sshd with an ed25519 host key in it; an import of its hardware file, which \
                 the first bootstrap writes; in the secrets, an encrypted file with what its \
                 sops.secrets name, and a rule for that file in .sops.yaml. landfall check NAME \
                 tells what is missing."
                    .into()
            }
            Self::Dirty(_) => "Commit them first.".into(),
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

/// The new host's disks, and what starts it from them.
#[derive(Debug, Clone, Copy)]
pub struct Disks<'a> {
    /// Layout in `hosts/common/disks`, without `-disk.nix`.
    pub layout: &'a str,
    pub firmware: Firmware,
    pub device: &'a str,
}

/// A host that is to be added.
pub struct NewHost<'a> {
    pub name: &'a str,
    pub disks: Disks<'a>,
    pub config: &'a Path,
    pub secrets: &'a SecretsRepo,
    pub user: String,
    rules: String,
}

impl<'a> NewHost<'a> {
    /// Looks at everything that could stand in the way; changes nothing.
    pub fn plan(
        name: &'a str,
        disks: Disks<'a>,
        config: &'a Path,
        secrets: &'a SecretsRepo,
    ) -> Result<Self, StepError> {
        let layout_file = format!("hosts/common/disks/{}-disk.nix", disks.layout);
        let bios_file = format!("hosts/{BIOS}");
        let bios = (disks.firmware == Firmware::Bios).then_some(bios_file.as_str());
        let missing = SHAPE.into_iter().chain([layout_file.as_str()]).chain(bios);
        let missing: Vec<&str> = missing.filter(|path| !config.join(path).exists()).collect();
        if !missing.is_empty() {
            return Err(foreign(config, format!("there is no {}", missing.join(", "))).into());
        }
        if secrets.sops_config != Path::new(".sops.yaml") {
            let why = format!("the rules are in {}", secrets.sops_config.display());
            return Err(foreign(&secrets.dir, why).into());
        }
        let user = user(config)?;
        let folder = config.join(HOSTS).join(name);
        let file = secrets.dir.join(file_of(name));
        for place in [&folder, &file] {
            if place.symlink_metadata().is_ok() {
                return Err(NewHostError::Exists(place.clone()).into());
            }
        }
        let sops_config = secrets.dir.join(&secrets.sops_config);
        let dirty = Repo::open(&secrets.dir)?.dirty()?;
        if dirty.contains(&secrets.sops_config) {
            return Err(NewHostError::Dirty(sops_config).into());
        }
        let text = std::fs::read_to_string(&sops_config).map_err(io(&sops_config))?;
        let hosts = folders(&config.join(HOSTS)).map_err(io(&config.join(HOSTS)))?;
        let rules = with_rule(&text, &hosts, name)
            .map_err(|why| foreign(&secrets.dir, format!("{}: {why}", sops_config.display())))?;
        Ok(Self { name, disks, config, secrets, user, rules })
    }

    /// Writes and commits, in the secrets first: the configuration refers to them.
    pub fn write(&self, given: &HostSecrets<'_>) -> Result<(), StepError> {
        let (dir, sops_config) = (&self.secrets.dir, &self.secrets.sops_config);
        let file = PathBuf::from(file_of(self.name));
        let before = std::fs::read(dir.join(sops_config)).map_err(io(&dir.join(sops_config)))?;
        let secrets = || -> Result<(), StepError> {
            put(&dir.join(sops_config), self.rules.as_bytes())?;
            init::encrypt(dir, self.name, &self.user, given)?;
            let message = format!("Secrets of {}", self.name);
            Repo::open(dir)?.commit_paths(&[sops_config, &file], &message)?;
            Ok(())
        };
        if let Err(error) = secrets() {
            // Half of it would be a rule without a file, or a file that nobody asked for.
            let _ = std::fs::write(dir.join(sops_config), before);
            let _ = std::fs::remove_file(dir.join(&file));
            return Err(error);
        }
        let mut written = Vec::new();
        for (path, text) in self.files() {
            put(&self.config.join(&path), text.as_bytes())?;
            written.push(path);
        }
        let paths: Vec<&Path> = written.iter().map(PathBuf::as_path).collect();
        let message = format!("Configuration of {}", self.name);
        Repo::open(self.config)?.commit_paths(&paths, &message)?;
        Ok(())
    }

    /// The files of the host's own folder, as `landfall init` writes them.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let values = Values {
            host: self.name.to_owned(),
            user: self.user.clone(),
            secrets_url: String::new(),
            layout: self.disks.layout.to_owned(),
            firmware: self.disks.firmware,
            disk: self.disks.device.to_owned(),
            recipients: Vec::new(),
            authorized_keys: String::new(),
        };
        let of_host = NIX_CONFIG.iter().filter(|template| template.path.starts_with(HOSTS));
        of_host.map(|template| template.render(&values)).collect()
    }
}

/// The host's secrets, below nix-secrets.
pub fn file_of(host: &str) -> String {
    format!("sops/{host}.yaml")
}

/// The primary user, as the hosts' modules read it.
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
        None => Err(foreign(config, "vars.nix names no `username`".into()).into()),
    }
}

fn folders(dir: &Path) -> std::io::Result<Vec<String>> {
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

/// The rules with one more for `host`: the rule of a host that is there, granted to the
/// people alone. The new host's own key comes in when it is installed.
fn with_rule(text: &str, hosts: &[String], host: &str) -> Result<String, String> {
    let rules = Rules::parse(text).map_err(|error| error.to_string())?;
    let all = rules.rules().map_err(|error| error.to_string())?;
    let regex = |host: &str| format!("^sops/{host}\\.yaml$");
    let of_a_host =
        |rule: &&Rule<'_>| hosts.iter().any(|host| rule.path_regex == Some(regex(host).as_str()));
    let model = all.iter().rev().find(of_a_host);
    let model =
        model.ok_or("no rule is of the form ^sops/HOST\\.yaml$ for a host that is there")?;
    let operator = Identities::of_operator(&Places::of_process()).recipients();
    let people = rule_selection::people(&rules, &all, &operator);
    let granted: Vec<&str> =
        model.recipients().into_iter().filter(|key| people.iter().any(|p| p == key)).collect();
    if granted.is_empty() {
        return Err(format!("who of the keys of {} is a person is not clear", model.name()));
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
    let lines =
        block.lines().filter(|line| key_of(line).is_none_or(|key| granted.contains(&key.as_str())));
    let new: Vec<String> = lines.map(|line| line.replace(model_regex, &regex(host))).collect();
    let added = format!("{}\n{}{}", &text[..end], new.join("\n"), &text[end..]);
    grants_exactly(&added, host, &granted)?;
    Ok(added)
}

/// What was written is read again, as sops will.
fn grants_exactly(text: &str, host: &str, wanted: &[&str]) -> Result<(), String> {
    let rules = Rules::parse(text).map_err(|error| error.to_string())?;
    let rule = rules.rule_for(Path::new(&file_of(host))).map_err(|error| error.to_string())?;
    let granted = rule.as_ref().map(Rule::recipients).unwrap_or_default();
    if granted == wanted { Ok(()) } else { Err("the rule of another host cannot be copied".into()) }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), NewHostError> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(path, bytes)).map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> NewHostError + '_ {
    move |source| NewHostError::Io { path: path.to_owned(), source }
}

fn foreign(repo: &Path, why: String) -> NewHostError {
    NewHostError::Foreign { repo: repo.display().to_string(), why }
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
    fn what_is_laid_out_otherwise_is_left_alone() {
        let other = text().replace("^sops/guppy\\.yaml$", "secrets/.*");
        assert!(with_rule(&other, &["guppy".into()], "molly").is_err());
        let flow = "creation_rules: [{path_regex: '^sops/guppy\\.yaml$', age: 'age1x'}]\n";
        assert!(with_rule(flow, &["guppy".into()], "molly").is_err());
    }
}
