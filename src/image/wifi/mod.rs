//! Wi-Fi networks that a customized installer joins by itself.
//!
//! NixOS's installer images run NetworkManager, so each network becomes one of its keyfiles
//! (nm-settings-keyfile(5)), which `customize` embeds. A passphrase comes from a file or a
//! prompt, and is written to the keyfile alone.

pub(crate) mod connection;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Advice, Exit, StepError};
use crate::secret::Secret;
use crate::ui::prompt::{Prompter, Question};

/// Longest SSID, in bytes (IEEE 802.11, element SSID).
const MAX_SSID: usize = 32;
/// Length of a WPA passphrase, in ASCII characters (IEEE 802.11, annex J.4).
const PASSPHRASE_LENGTH: std::ops::RangeInclusive<usize> = 8..=63;
/// Hexadecimal digits of a pre-shared key that is given in place of a passphrase.
const PSK_DIGITS: usize = 64;

/// The Wi-Fi networks that the flags of `iso build` name.
#[derive(Debug, Default)]
pub(crate) struct WifiFlags<'a> {
    /// SSIDs of `--wifi`.
    pub(crate) names: &'a [OsString],
    /// SSIDs of `--wifi-hidden`: networks that do not broadcast them.
    pub(crate) hidden: &'a [OsString],
    /// Values of `--wifi-passphrase-file`, `[NAME=]FILE`.
    pub(crate) passphrase_files: &'a [OsString],
    /// Keyfiles of `--wifi-connection`.
    pub(crate) connections: &'a [PathBuf],
}

/// A NetworkManager connection profile, secrets included.
#[derive(Debug)]
pub(crate) struct Profile {
    /// The network's name on one line, for people.
    pub(crate) name: String,
    /// The keyfile as NetworkManager reads it, with the passphrase in it.
    pub(crate) keyfile: Zeroizing<Vec<u8>>,
}

/// Why the Wi-Fi networks cannot be embedded in an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WifiError {
    #[error("“{name}” is not a Wi-Fi network name: it has {bytes} bytes, not 1 to 32")]
    Name { name: String, bytes: usize },
    #[error("the Wi-Fi network “{0}” is given twice")]
    Duplicate(String),
    #[error("the passphrase file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error, networks: Vec<String> },
    #[error("the passphrase file {0} does not belong to any Wi-Fi network")]
    UnusedPassphraseFile(String),
    #[error("the passphrase of the Wi-Fi network “{name}” is not valid: {why}")]
    Passphrase { name: String, why: PassphraseProblem },
    #[error("the installer cannot use the Wi-Fi connection {}: {why}", path.display())]
    Connection { path: PathBuf, why: String },
}

impl Advice for WifiError {
    fn hint(&self) -> String {
        match self {
            Self::Name { .. } => "Give the network's name (SSID) as the router shows it.".into(),
            Self::Duplicate(_) => "Give it once, with --wifi or with --wifi-hidden.".into(),
            Self::Read { networks, .. } => format!(
                "Check the path. In NAME=FILE, NAME is one of: {}",
                networks.join(", ")
            ),
            Self::UnusedPassphraseFile(_) => {
                "Name its network with --wifi NAME. Each network takes one file, NAME=FILE; one FILE \
                 without a name is for all others."
                    .into()
            }
            Self::Passphrase { .. } => {
                "Compare it with the router's. For other kinds of networks (open, 802.1X, WPA3 \
                 only), give a NetworkManager keyfile: --wifi-connection FILE"
                    .into()
            }
            Self::Connection { .. } => "Give a copy of the file without that to \
                 --wifi-connection. Most networks need only a name and a passphrase: --wifi NAME"
                .into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Returns a profile for each network, in the order of the flags; prompts for passphrases that
/// no file holds.
pub(crate) fn profiles(
    flags: &WifiFlags,
    prompter: &dyn Prompter,
) -> Result<Vec<Profile>, StepError> {
    let names = || flags.names.iter().chain(flags.hidden);
    let networks: Vec<&[u8]> = names().map(|name| name.as_bytes()).collect();
    for (index, name) in networks.iter().enumerate() {
        check_name(name)?;
        if networks[..index].contains(name) {
            return Err(WifiError::Duplicate(shown(name)).into());
        }
    }
    let files = files(&networks, flags.passphrase_files)?;
    let mut profiles = Vec::new();
    for (index, (name, file)) in networks.iter().zip(files).enumerate() {
        let passphrase = match file {
            Some(file) => read(file, &networks)?,
            None => ask(name, prompter)?,
        };
        let ssid = if index < flags.names.len() { Ssid::Broadcast } else { Ssid::Hidden };
        profiles.push(Profile { name: shown(name), keyfile: keyfile(name, ssid, &passphrase)? });
    }
    for path in flags.connections {
        profiles.push(connection::read(path)?);
    }
    Ok(profiles)
}

fn check_name(name: &[u8]) -> Result<(), WifiError> {
    match name.len() {
        1..=MAX_SSID => Ok(()),
        bytes => Err(WifiError::Name { name: shown(name), bytes }),
    }
}

/// Returns the passphrase file of each network, in the order of `networks`.
fn files<'a>(
    networks: &[&[u8]],
    given: &'a [OsString],
) -> Result<Vec<Option<&'a Path>>, WifiError> {
    let mut own = vec![None; networks.len()];
    let mut for_all = None;
    for value in given {
        let unused = || WifiError::UnusedPassphraseFile(value.to_string_lossy().into_owned());
        let bytes = value.as_bytes();
        // An SSID may contain an equals sign: the longest match wins.
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
            return Err(unused());
        }
    }
    if let Some(file) = for_all.filter(|_| own.iter().all(Option::is_some)) {
        return Err(WifiError::UnusedPassphraseFile(file.display().to_string()));
    }
    Ok(own.into_iter().map(|file| file.or(for_all)).collect())
}

/// Reads a passphrase file, without the line end that editors and `echo` append.
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

/// Prompts for a passphrase twice: nothing here can test it, and a typing error would show
/// only on a machine without a network.
fn ask(name: &[u8], prompter: &dyn Prompter) -> Result<Zeroizing<Vec<u8>>, StepError> {
    let question = Question::new(
        format!("Passphrase of the Wi-Fi network “{}”", shown(name)),
        "--wifi-passphrase-file [NAME=]FILE",
    );
    Ok(Zeroizing::new(prompter.new_secret(&question)?.expose().to_vec()))
}

/// Whether a network broadcasts its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ssid {
    Broadcast,
    Hidden,
}

/// Returns the keyfile of a network with WPA2 or WPA3 Personal, which is joined whenever it is
/// in range.
fn keyfile(name: &[u8], ssid: Ssid, given: &[u8]) -> Result<Zeroizing<Vec<u8>>, WifiError> {
    if let Err(why) = check_passphrase(given) {
        return Err(WifiError::Passphrase { name: shown(name), why });
    }
    // A Secret is redacted from everything that is shown or logged from now on.
    let passphrase = Secret::new(given.to_vec());
    let text = String::from_utf8_lossy(passphrase.expose());
    let (id, psk) = (value(&shown(name)), Zeroizing::new(value(&text)));
    // The format's list of byte values represents every SSID without escapes.
    let bytes: String = name.iter().map(|byte| format!("{byte};")).collect();
    let hidden = if ssid == Ssid::Hidden { "hidden=true\n" } else { "" };
    Ok(Zeroizing::new(
        format!(
            "[connection]\nid={id}\ntype=wifi\nautoconnect-retries=0\n\n\
             [wifi]\nssid={bytes}\n{hidden}\n\
             [wifi-security]\nkey-mgmt=wpa-psk\npsk={}\n\n\
             [ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n",
            psk.as_str()
        )
        .into_bytes(),
    ))
}

/// Why WPA refuses a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PassphraseProblem {
    #[error("it is empty")]
    Empty,
    #[error("64 characters are a pre-shared key, which has only hexadecimal digits")]
    NotHexadecimal,
    #[error("it has {0} bytes, but WPA needs 8 to 63 characters")]
    Length(usize),
    #[error("it has characters other than printable ASCII")]
    NotPrintable,
}

fn check_passphrase(passphrase: &[u8]) -> Result<(), PassphraseProblem> {
    let printable = passphrase.iter().all(|byte| (b' '..=b'~').contains(byte));
    match passphrase.len() {
        0 => Err(PassphraseProblem::Empty),
        PSK_DIGITS if passphrase.iter().all(u8::is_ascii_hexdigit) => Ok(()),
        PSK_DIGITS => Err(PassphraseProblem::NotHexadecimal),
        length if !PASSPHRASE_LENGTH.contains(&length) => Err(PassphraseProblem::Length(length)),
        _ if !printable => Err(PassphraseProblem::NotPrintable),
        _ => Ok(()),
    }
}

/// Escapes a text for GLib's key files: spaces at its ends, and backslashes.
fn value(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let start = text.len() - text.trim_start_matches(' ').len();
    let end = text.len() - start - inner.len();
    format!("{}{}{}", "\\s".repeat(start), inner.replace('\\', "\\\\"), "\\s".repeat(end))
}

/// Returns a network's name for people: on one line, whatever its bytes are.
fn shown(name: &[u8]) -> String {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(name).chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::prompt::Unattended;

    fn text(name: &str, ssid: Ssid, passphrase: &str) -> String {
        let keyfile = keyfile(name.as_bytes(), ssid, passphrase.as_bytes()).unwrap();
        String::from_utf8(keyfile.to_vec()).unwrap()
    }

    #[test]
    fn a_network_is_what_networkmanager_reads() {
        assert_eq!(
            text("Café 1", Ssid::Hidden, " a\\b;c#d \"e' "),
            "[connection]\nid=Café 1\ntype=wifi\nautoconnect-retries=0\n\n\
             [wifi]\nssid=67;97;102;195;169;32;49;\nhidden=true\n\n\
             [wifi-security]\nkey-mgmt=wpa-psk\npsk=\\sa\\\\b;c#d \"e'\\s\n\n\
             [ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
        );
        assert!(text("a\nb", Ssid::Broadcast, "password").contains("id=a\u{fffd}b\n"));
        assert!(text("1", Ssid::Broadcast, "        ").contains("ssid=49;\n\n"));
        assert!(
            text("1", Ssid::Broadcast, "        ").contains(&format!("psk={}\n", "\\s".repeat(8)))
        );
    }

    #[test]
    fn passphrases_that_wpa_does_not_take_are_refused_and_not_shown() {
        for good in ["12345678", &"x".repeat(63), &"aF09".repeat(16)] {
            assert_eq!(check_passphrase(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", "1234567", &"x".repeat(64), &"a".repeat(65), "pässwort", "tab\tin it"] {
            let error = keyfile(b"home", Ssid::Broadcast, bad.as_bytes()).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn names_are_one_to_thirty_two_bytes_and_given_once() {
        let names = |names: &[&str]| {
            let names: Vec<OsString> = names.iter().map(OsString::from).collect();
            let flags = WifiFlags { names: &names, ..WifiFlags::default() };
            let prompter = Unattended { yes: false };
            profiles(&flags, &prompter).unwrap_err()
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
        assert!(found(&["x", "y"]).unwrap_err().contains("file y does not"));
        assert!(found(&["a=x", "a=y"]).unwrap_err().contains("file a=y does not"));
        assert!(found(&["a=1", "a=b=2", "c=3", "x"]).unwrap_err().contains("file x does not"));
    }
}
