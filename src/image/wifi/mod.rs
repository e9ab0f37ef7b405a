//! Wi-Fi networks that an installer joins by itself, in the form that NetworkManager reads,
//! which NixOS's installer images run: keyfiles, as nm-settings-keyfile(5) describes them.
//!
//! A passphrase comes from a file or from a person, and is in the keyfile alone.

pub mod connection;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Advice, Exit, StepError};
use crate::secret::Secret;
use crate::ui::prompt::{Prompter, Question};

/// The longest name of a network, bytes (IEEE 802.11, element SSID).
const LONGEST_NAME: usize = 32;
/// Characters of a passphrase (IEEE 802.11, annex J.4).
const PASSPHRASE: std::ops::RangeInclusive<usize> = 8..=63;
/// Hexadecimal digits of a key that was made of a passphrase.
const KEY_DIGITS: usize = 64;

/// What the flags of `iso build` ask for.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    pub names: &'a [OsString],
    /// Networks that do not show their names.
    pub hidden: &'a [OsString],
    /// `[NAME=]FILE`
    pub passphrase_files: &'a [OsString],
    /// Keyfiles that somebody else wrote.
    pub connections: &'a [PathBuf],
}

/// A network, and all that is needed to join it.
#[derive(Debug)]
pub struct Profile {
    /// Its name, for people.
    pub name: String,
    /// What NetworkManager reads, with the passphrase in it.
    pub keyfile: Zeroizing<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum WifiError {
    #[error("“{name}” is no name of a Wi-Fi network: it has {bytes} bytes, not 1 to 32")]
    Name { name: String, bytes: usize },
    #[error("the Wi-Fi network “{0}” is given twice")]
    Twice(String),
    #[error("the passphrase file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error, networks: Vec<String> },
    #[error("the passphrase file {0} is for no Wi-Fi network")]
    Spare(String),
    #[error("the passphrase of the Wi-Fi network “{name}” cannot be right: {why}")]
    Passphrase { name: String, why: String },
    #[error("{} is no Wi-Fi connection that the installer could use: {why}", path.display())]
    Connection { path: PathBuf, why: String },
}

impl Advice for WifiError {
    fn hint(&self) -> String {
        match self {
            Self::Name { .. } => "Give the name as the router shows it.".into(),
            Self::Twice(_) => "Name it once: with --wifi, or with --wifi-hidden.".into(),
            Self::Read { networks, .. } => format!(
                "Check the path. A name before it, as NAME=FILE, is one of: {}",
                networks.join(", ")
            ),
            Self::Spare(_) => {
                "Name its network with --wifi NAME; there is one file for each network, and one \
                 for all others."
                    .into()
            }
            Self::Passphrase { .. } => {
                "Compare it with the router's. A network of another kind (open, with user names, \
                 WPA3 alone) is given as NetworkManager keeps it: --wifi-connection FILE"
                    .into()
            }
            Self::Connection { .. } => "Give a copy of the file without that: \
                 --wifi-connection FILE. A name and a passphrase are enough for most networks: \
                 --wifi NAME"
                .into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// The networks that are wanted; a passphrase that no file holds is asked for.
pub fn profiles(wanted: &Wanted, prompter: &dyn Prompter) -> Result<Vec<Profile>, StepError> {
    let names = || wanted.names.iter().chain(wanted.hidden);
    let networks: Vec<&[u8]> = names().map(|name| name.as_bytes()).collect();
    for (index, name) in networks.iter().enumerate() {
        check_name(name)?;
        if networks[..index].contains(name) {
            return Err(WifiError::Twice(shown(name)).into());
        }
    }
    let files = files(&networks, wanted.passphrase_files)?;
    let mut profiles = Vec::new();
    for (index, (name, file)) in networks.iter().zip(files).enumerate() {
        let given = match file {
            Some(file) => read(file, &networks)?,
            None => ask(name, prompter)?,
        };
        let hidden = index >= wanted.names.len();
        profiles.push(Profile { name: shown(name), keyfile: keyfile(name, hidden, &given)? });
    }
    for path in wanted.connections {
        profiles.push(connection::read(path)?);
    }
    Ok(profiles)
}

fn check_name(name: &[u8]) -> Result<(), WifiError> {
    match name.len() {
        1..=LONGEST_NAME => Ok(()),
        bytes => Err(WifiError::Name { name: shown(name), bytes }),
    }
}

/// The passphrase file of each network, in their order.
fn files<'a>(
    networks: &[&[u8]],
    given: &'a [OsString],
) -> Result<Vec<Option<&'a Path>>, WifiError> {
    let mut own = vec![None; networks.len()];
    let mut for_all = None;
    for value in given {
        let spare = || WifiError::Spare(value.to_string_lossy().into_owned());
        let bytes = value.as_bytes();
        // A name may hold an equals sign: the longest that fits is meant.
        let named = networks
            .iter()
            .enumerate()
            .filter_map(|(index, name)| {
                Some((index, name.len(), bytes.strip_prefix(*name)?.strip_prefix(b"=")?))
            })
            .max_by_key(|(_, length, _)| *length);
        let (place, file) = match named {
            Some((index, _, file)) => (&mut own[index], file),
            None => (&mut for_all, bytes),
        };
        if place.replace(Path::new(OsStr::from_bytes(file))).is_some() {
            return Err(spare());
        }
    }
    if let Some(file) = for_all.filter(|_| own.iter().all(Option::is_some)) {
        return Err(WifiError::Spare(file.display().to_string()));
    }
    Ok(own.into_iter().map(|file| file.or(for_all)).collect())
}

/// Without the line end that editors and `echo` put there.
fn read(path: &Path, networks: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, WifiError> {
    let mut bytes = Zeroizing::new(std::fs::read(path).map_err(|source| WifiError::Read {
        path: path.to_owned(),
        source,
        networks: networks.iter().map(|name| shown(name)).collect(),
    })?);
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(bytes)
}

/// Twice: nothing here can tell whether it is right, and the machine that cannot join the
/// network is far away.
fn ask(name: &[u8], prompter: &dyn Prompter) -> Result<Zeroizing<Vec<u8>>, StepError> {
    let question = Question::new(
        format!("Passphrase of the Wi-Fi network “{}”", shown(name)),
        "--wifi-passphrase-file [NAME=]FILE",
    );
    Ok(Zeroizing::new(prompter.new_secret(&question)?.expose().to_vec()))
}

/// A network of WPA2 or WPA3 with one passphrase for all, joined whenever it is there.
fn keyfile(name: &[u8], hidden: bool, given: &[u8]) -> Result<Zeroizing<Vec<u8>>, WifiError> {
    if let Some(why) = what_is_wrong(given) {
        return Err(WifiError::Passphrase { name: shown(name), why });
    }
    // From now on it is taken out of whatever is shown or logged.
    let passphrase = Secret::new(given.to_vec());
    let text = String::from_utf8_lossy(passphrase.expose());
    let (id, psk) = (value(&shown(name)), Zeroizing::new(value(&text)));
    // As a list of numbers, a name means the same whatever its bytes are.
    let ssid: String = name.iter().map(|byte| format!("{byte};")).collect();
    let hidden = if hidden { "hidden=true\n" } else { "" };
    Ok(Zeroizing::new(
        format!(
            "[connection]\nid={id}\ntype=wifi\nautoconnect-retries=0\n\n\
             [wifi]\nssid={ssid}\n{hidden}\n\
             [wifi-security]\nkey-mgmt=wpa-psk\npsk={}\n\n\
             [ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n",
            psk.as_str()
        )
        .into_bytes(),
    ))
}

fn what_is_wrong(passphrase: &[u8]) -> Option<String> {
    let printable = passphrase.iter().all(|byte| (b' '..=b'~').contains(byte));
    match passphrase.len() {
        0 => Some("it is empty".into()),
        KEY_DIGITS if passphrase.iter().all(u8::is_ascii_hexdigit) => None,
        KEY_DIGITS => Some("64 characters are a key, which is all hexadecimal digits".into()),
        length if !PASSPHRASE.contains(&length) => {
            Some(format!("it has {length} bytes, and WPA takes 8 to 63 characters"))
        }
        _ if !printable => Some("it holds something else than printable ASCII".into()),
        _ => None,
    }
}

/// A text as GLib's key files hold it: spaces at its ends and backslashes are escaped.
fn value(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let start = text.len() - text.trim_start_matches(' ').len();
    let end = text.len() - start - inner.len();
    format!("{}{}{}", "\\s".repeat(start), inner.replace('\\', "\\\\"), "\\s".repeat(end))
}

/// A name for people: on one line, whatever its bytes are.
fn shown(name: &[u8]) -> String {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(name).chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::prompt::Unattended;

    fn text(name: &str, hidden: bool, passphrase: &str) -> String {
        let keyfile = keyfile(name.as_bytes(), hidden, passphrase.as_bytes()).unwrap();
        String::from_utf8(keyfile.to_vec()).unwrap()
    }

    #[test]
    fn a_network_is_what_networkmanager_reads() {
        assert_eq!(
            text("Café 1", true, " a\\b;c#d \"e' "),
            "[connection]\nid=Café 1\ntype=wifi\nautoconnect-retries=0\n\n\
             [wifi]\nssid=67;97;102;195;169;32;49;\nhidden=true\n\n\
             [wifi-security]\nkey-mgmt=wpa-psk\npsk=\\sa\\\\b;c#d \"e'\\s\n\n\
             [ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
        );
        assert!(text("a\nb", false, "password").contains("id=a\u{fffd}b\n"));
        assert!(text("1", false, "        ").contains("ssid=49;\n\n"));
        assert!(text("1", false, "        ").contains(&format!("psk={}\n", "\\s".repeat(8))));
    }

    #[test]
    fn passphrases_that_wpa_does_not_take_are_refused_and_not_shown() {
        for good in ["12345678", &"x".repeat(63), &"aF09".repeat(16)] {
            assert_eq!(what_is_wrong(good.as_bytes()), None, "{good}");
        }
        for bad in ["", "1234567", &"x".repeat(64), &"a".repeat(65), "pässwort", "tab\tin it"] {
            let error = keyfile(b"home", false, bad.as_bytes()).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn names_are_one_to_thirty_two_bytes_and_given_once() {
        let names = |names: &[&str]| {
            let names: Vec<OsString> = names.iter().map(OsString::from).collect();
            let wanted = Wanted { names: &names, ..Wanted::default() };
            let prompter = Unattended { yes: false };
            profiles(&wanted, &prompter).unwrap_err()
        };
        assert!(names(&[""]).what.contains("0 bytes"));
        assert!(names(&[&"ü".repeat(17)]).what.contains("34 bytes"));
        assert!(names(&["a", "b", "a"]).what.contains("twice"));
        assert_eq!(names(&["a"]).exit, Exit::Person);
    }

    #[test]
    fn each_network_has_its_own_file_or_that_of_all_others() {
        let networks: [&[u8]; 3] = [b"a", b"a=b", b"c"];
        let found = |given: &[&str]| {
            let given: Vec<OsString> = given.iter().map(OsString::from).collect();
            let files = files(&networks, &given).map_err(|error| error.to_string())?;
            let text = |file: Option<&Path>| file.map_or("-".into(), |f| f.display().to_string());
            Ok::<_, String>(files.into_iter().map(text).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found(&["a=x", "a=b=y", "z"]).unwrap(), "x y z");
        assert_eq!(found(&["./a=x"]).unwrap(), "./a=x ./a=x ./a=x");
        assert_eq!(found(&["c=z"]).unwrap(), "- - z");
        assert!(found(&["x", "y"]).unwrap_err().contains("y is for no"));
        assert!(found(&["a=x", "a=y"]).unwrap_err().contains("a=y is for no"));
        assert!(found(&["a=1", "a=b=2", "c=3", "x"]).unwrap_err().contains("x is for no"));
    }
}
