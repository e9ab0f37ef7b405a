//! The identities that may open files: the operator's, from all the places that
//! sops looks in, or a host's alone for a proof.
//!
//! One difference to sops: an SSH key also counts as the age identity that
//! ssh-to-age derives from it, because that is what recipients in `.sops.yaml`
//! are usually made of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::exec::Cmd;
use crate::secret::age::{HostKeyPair, Identity};
use crate::secret::{MemoryFile, Secret};

/// A program that prints an identity may wait for a person to unlock a store.
const KEY_COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// Where identities are looked for: variables and home of one user.
#[derive(Debug, Clone)]
pub enum Places {
    /// The process's own environment.
    Process,
    /// These variables only (`HOME` among them).
    Given(Vec<(String, OsString)>),
}

impl Places {
    pub(crate) fn of_process() -> Self {
        Self::Process
    }

    pub fn of(variables: Vec<(String, OsString)>) -> Self {
        Self::Given(variables)
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        match self {
            Self::Process => std::env::var_os(name),
            Self::Given(variables) => {
                let found = variables.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone())
            }
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.variable(name).and_then(|value| value.into_string().ok())
    }
}

enum Found {
    Age(Identity),
    Ssh(Box<::age::ssh::Identity>),
    /// `AGE-PLUGIN-…` or a post-quantum key: only sops can use it.
    Plugin(Secret),
}

/// A set of identities, looked for when the first one is needed: a command may ask a
/// person for one, and what is up to date needs none.
#[derive(Default)]
pub struct Identities {
    /// Where to look; none where the identity was given.
    places: Option<Places>,
    gathered: OnceLock<Gathered>,
}

#[derive(Default)]
struct Gathered {
    found: Vec<Found>,
    /// SSH key files, for the sops binary.
    ssh_files: Vec<PathBuf>,
    searched: Vec<String>,
}

impl Identities {
    /// All identities of the operator.
    pub fn of_operator(places: &Places) -> Self {
        Self { places: Some(places.clone()), gathered: OnceLock::new() }
    }

    /// One identity and no other.
    pub fn only(identity: Identity) -> Self {
        let gathered = Gathered { found: vec![Found::Age(identity)], ..Gathered::default() };
        Self { places: None, gathered: gathered.into() }
    }

    fn gathered(&self) -> &Gathered {
        self.gathered
            .get_or_init(|| self.places.as_ref().map(Gathered::everywhere).unwrap_or_default())
    }

    /// The places that were searched, with what was found there.
    pub(crate) fn searched(&self) -> &[String] {
        &self.gathered().searched
    }

    /// The age recipients of these identities, as far as they can be told.
    pub(crate) fn recipients(&self) -> Vec<String> {
        let age = self.gathered().found.iter().filter_map(|found| match found {
            Found::Age(identity) => Some(identity.recipient().to_string()),
            _ => None,
        });
        age.collect()
    }

    pub(crate) fn as_age(&self) -> Vec<&dyn ::age::Identity> {
        let native = self.gathered().found.iter().filter_map(|found| match found {
            Found::Age(identity) => Some(identity.key() as &dyn ::age::Identity),
            Found::Ssh(identity) => Some(identity.as_ref() as &dyn ::age::Identity),
            Found::Plugin(_) => None,
        });
        native.collect()
    }

    /// Gives what sops can take from a file, in memory alone.
    pub(crate) fn for_sops(&self) -> std::io::Result<MemoryFile> {
        let mut text = Zeroizing::new(String::new());
        for found in &self.gathered().found {
            let secret = match found {
                Found::Age(identity) => identity.text(),
                Found::Plugin(secret) => secret,
                Found::Ssh(_) => continue,
            };
            text.push_str(secret.expose_str().unwrap_or_default());
            text.push('\n');
        }
        MemoryFile::new(text.as_bytes())
    }

    /// SSH private keys that sops may use as they are.
    pub(crate) fn ssh_files(&self) -> &[PathBuf] {
        &self.gathered().ssh_files
    }
}

impl Gathered {
    /// Looks everywhere where sops looks.
    fn everywhere(places: &Places) -> Self {
        let mut all = Self::default();
        match places.path("SOPS_AGE_SSH_PRIVATE_KEY_FILE") {
            Some(path) => all.add_ssh_file(&path, "SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
            None => all.searched.push("SOPS_AGE_SSH_PRIVATE_KEY_FILE (not set)".into()),
        }
        let home = places.path("HOME");
        if let Some(home) = &home {
            all.add_ssh_file(&home.join(".ssh/id_ed25519"), "");
        }
        match places.text("SOPS_AGE_KEY") {
            Some(text) => all.add_text("SOPS_AGE_KEY", &text),
            None => all.searched.push("SOPS_AGE_KEY (not set)".into()),
        }
        match places.path("SOPS_AGE_KEY_FILE") {
            Some(path) => all.add_file(&path),
            None => all.searched.push("SOPS_AGE_KEY_FILE (not set)".into()),
        }
        match places.text("SOPS_AGE_KEY_CMD") {
            Some(command) => all.add_command(&command),
            None => all.searched.push("SOPS_AGE_KEY_CMD (not set)".into()),
        }
        let config =
            places.path("XDG_CONFIG_HOME").or_else(|| home.map(|home| home.join(".config")));
        if let Some(config) = config {
            all.add_file(&config.join("sops/age/keys.txt"));
        }
        all
    }

    fn add_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(&path.display().to_string(), &Zeroizing::new(text)),
            Err(error) => self.searched.push(format!("{} ({})", path.display(), reason(&error))),
        }
    }

    fn add_text(&mut self, place: &str, text: &str) {
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = self.found.len();
        let mut unknown = 0;
        for line in lines {
            if line.starts_with("AGE-PLUGIN-") || line.starts_with("AGE-SECRET-KEY-PQ-") {
                self.found.push(Found::Plugin(Secret::from(line.to_owned())));
            } else if let Ok(identity) = Identity::parse(line) {
                self.found.push(Found::Age(identity));
            } else {
                unknown += 1;
            }
        }
        let count = self.found.len() - before;
        let unknown =
            if unknown > 0 { format!(", {unknown} unknown lines") } else { String::new() };
        self.searched.push(format!("{place} ({count} identities{unknown})"));
    }

    fn add_ssh_file(&mut self, path: &Path, variable: &str) {
        let place = match variable {
            "" => path.display().to_string(),
            name => format!("{name}={}", path.display()),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => return self.searched.push(format!("{place} ({})", reason(&error))),
        };
        match ::age::ssh::Identity::from_buffer(text.as_bytes(), None) {
            Ok(identity @ ::age::ssh::Identity::Unencrypted(_)) => {
                self.found.push(Found::Ssh(Box::new(identity)));
                self.ssh_files.push(path.to_owned());
                if let Ok(derived) = HostKeyPair::parse(&text).and_then(|key| key.identity()) {
                    self.found.push(Found::Age(derived));
                }
                self.searched.push(format!("{place} (1 SSH key)"));
            }
            Ok(::age::ssh::Identity::Encrypted(_)) => {
                self.searched.push(format!("{place} (protected by a passphrase, not used)"));
            }
            _ => self.searched.push(format!("{place} (not a usable SSH key)")),
        }
    }

    fn add_command(&mut self, command: &str) {
        let words = words(command);
        let Some((program, args)) = words.split_first() else { return };
        let place = format!("SOPS_AGE_KEY_CMD ({program})");
        match printed_once(command, || {
            let run = Cmd::new(program).args(args).deadline(KEY_COMMAND_DEADLINE).terminal().run();
            run.map(|output| Secret::new(output.stdout)).map_err(|error| error.to_string())
        }) {
            Ok(text) => self.add_text(&place, text.expose_str().unwrap_or_default()),
            Err(error) => self.searched.push(format!("{place}: {error}")),
        }
    }
}

type Printed = Result<Secret, String>;

/// What the command prints; it runs once in a process, since it may ask a person.
fn printed_once(command: &str, run: impl FnOnce() -> Printed) -> Printed {
    static PRINTED: Mutex<Vec<(String, Printed)>> = Mutex::new(Vec::new());
    let mut printed = PRINTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((_, known)) = printed.iter().find(|(known, _)| known == command) {
        return known.clone();
    }
    let new = run();
    printed.push((command.to_owned(), new.clone()));
    new
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({:?})", self.gathered.get().map(|gathered| &gathered.searched))
    }
}

fn reason(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "not there",
        std::io::ErrorKind::PermissionDenied => "not readable",
        _ => "could not be read",
    }
}

/// Splits a command line as a shell would, quotes and backslashes included.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_like_a_shell_does() {
        assert_eq!(
            words(r#"pass show "a b"  c\ d 'e"f' """#),
            ["pass", "show", "a b", "c d", "e\"f", ""]
        );
        assert!(words("  ").is_empty());
    }

    #[test]
    fn every_place_is_searched_and_named() {
        let home = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let file = home.path().join(".config/sops/age");
        std::fs::create_dir_all(&file).unwrap();
        std::fs::write(file.join("keys.txt"), identity.key_file().expose()).unwrap();
        let host = HostKeyPair::generate("x").unwrap();
        std::fs::create_dir_all(home.path().join(".ssh")).unwrap();
        std::fs::write(
            home.path().join(".ssh/id_ed25519"),
            host.private_openssh().unwrap().expose(),
        )
        .unwrap();
        let all = Identities::of_operator(&Places::of(vec![
            ("HOME".into(), home.path().into()),
            ("SOPS_AGE_KEY_CMD".into(), format!("cat {}", file.join("keys.txt").display()).into()),
        ]));
        let recipients = all.recipients();
        assert_eq!(
            recipients.iter().filter(|r| **r == identity.recipient().to_string()).count(),
            2
        );
        assert!(recipients.contains(&host.recipient().unwrap().to_string()));
        assert_eq!(all.searched().len(), 6, "{:?}", all.searched());
    }
}
