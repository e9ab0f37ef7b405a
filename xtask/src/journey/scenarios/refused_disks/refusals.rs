//! The situations that are refused, as a table, and the look at each.

use anyhow::{Context, Result};

use crate::journey::actions::install_command;
use crate::journey::command_result::CommandResult;
use crate::journey::fixture::Journey;
use crate::journey::repos::HOST;
use crate::journey::setup::SERIAL;

/// A call of `landfall install` that must be refused.
struct Refusal {
    /// What is wrong with it.
    what: &'static str,
    /// The host that is installed.
    host: &'static str,
    host_key: HostKeyFlag,
    passphrase: PassphraseFlag,
    /// The disk that may be erased.
    erase: Option<&'static str>,
    /// Further flags.
    flags: &'static [&'static str],
    exit: i32,
    says: &'static str,
}

/// What `--installer-fingerprint` names.
enum HostKeyFlag {
    /// The key that the console shows.
    Installers,
    Another,
    Missing,
}

/// What `--luks-passphrase-file` names.
enum PassphraseFlag {
    Good,
    /// A file with this in it.
    File(PassphraseFile),
    Missing,
}

struct PassphraseFile {
    name: &'static str,
    text: &'static str,
}

const EMPTY: PassphraseFile = PassphraseFile { name: "empty", text: "" };
const MANGLED: PassphraseFile = PassphraseFile { name: "mangled", text: "-n" };
const BROKEN: PassphraseFile = PassphraseFile { name: "broken", text: "two\nlines" };

const NO_SUCH_KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A call with everything that an unattended installation needs; the refused ones differ from
/// it.
const UNATTENDED: Refusal = Refusal {
    what: "",
    host: HOST,
    host_key: HostKeyFlag::Installers,
    passphrase: PassphraseFlag::Good,
    erase: Some(SERIAL),
    flags: &[],
    exit: 2,
    says: "",
};

const REFUSALS: [Refusal; 24] = [
    // Before the run of this host has verified a key.
    Refusal {
        what: "an unknown host key",
        host_key: HostKeyFlag::Missing,
        exit: 3,
        says: "was not confirmed",
        ..UNATTENDED
    },
    Refusal {
        what: "a disk that is not there",
        host: "missing",
        erase: Some("nowhere"),
        says: "does not have",
        ..UNATTENDED
    },
    Refusal {
        what: "two names of one disk",
        host: "twice",
        passphrase: PassphraseFlag::Missing,
        says: "are the same disk",
        ..UNATTENDED
    },
    Refusal {
        what: "the installer's own medium",
        host: "medium",
        erase: Some("sr0"),
        says: "/dev/sr0",
        ..UNATTENDED
    },
    Refusal {
        what: "a disk that is too small",
        host: "small",
        erase: Some("small"),
        says: "is too small",
        ..UNATTENDED
    },
    Refusal {
        what: "a read-only disk",
        host: "locked",
        erase: Some("locked"),
        says: "is read-only",
        ..UNATTENDED
    },
    Refusal {
        what: "half of an array",
        host: "array",
        erase: Some("array-a"),
        says: "is part of /dev/md127",
        ..UNATTENDED
    },
    Refusal {
        what: "half of a volume group",
        host: "group",
        erase: Some("group-a"),
        says: "volume group shared",
        ..UNATTENDED
    },
    Refusal {
        what: "a mounted disk",
        host: "used",
        erase: Some("used"),
        says: "/data is mounted from it",
        ..UNATTENDED
    },
    Refusal {
        what: "a disk that is swapped to",
        host: "swapped",
        erase: Some("swapped"),
        says: "is in use",
        ..UNATTENDED
    },
    Refusal { what: "no --erase", erase: None, exit: 3, says: "may be erased", ..UNATTENDED },
    Refusal {
        what: "--erase by device path",
        erase: Some("/dev/vda"),
        exit: 3,
        says: "is a device path",
        ..UNATTENDED
    },
    Refusal {
        what: "--erase of another disk",
        erase: Some("used"),
        says: "is no disk of the layout",
        ..UNATTENDED
    },
    Refusal {
        what: "--erase by half a name",
        erase: Some("landfall"),
        says: "is no disk of the layout",
        ..UNATTENDED
    },
    Refusal {
        what: "--disko-mode format, no --erase",
        erase: None,
        flags: &["--disko-mode", "format"],
        exit: 3,
        says: "may be erased",
        ..UNATTENDED
    },
    Refusal {
        what: "another host key",
        host_key: HostKeyFlag::Another,
        exit: 3,
        says: "answers with another host key",
        ..UNATTENDED
    },
    Refusal {
        what: "no passphrase",
        passphrase: PassphraseFlag::Missing,
        exit: 3,
        says: "--luks-passphrase-file",
        ..UNATTENDED
    },
    Refusal {
        what: "an empty passphrase",
        passphrase: PassphraseFlag::File(EMPTY),
        says: "is empty",
        ..UNATTENDED
    },
    Refusal {
        what: "a passphrase that disko would change",
        passphrase: PassphraseFlag::File(MANGLED),
        says: "changed by disko",
        ..UNATTENDED
    },
    Refusal {
        what: "a passphrase that nobody can type",
        passphrase: PassphraseFlag::File(BROKEN),
        says: "line break",
        ..UNATTENDED
    },
    Refusal {
        what: "a host without a layout",
        host: "bare",
        says: "has no disk layout",
        ..UNATTENDED
    },
    Refusal {
        what: "--phases reboot, nothing installed",
        passphrase: PassphraseFlag::Missing,
        erase: None,
        flags: &["--phases", "reboot"],
        says: "nothing was installed by this run",
        ..UNATTENDED
    },
    Refusal {
        what: "extra files that are not there",
        flags: &["--extra-files", "/no/such"],
        says: "/no/such",
        ..UNATTENDED
    },
    Refusal {
        what: "no check of the host key",
        host_key: HostKeyFlag::Missing,
        flags: &["--ssh-option", "StrictHostKeyChecking=no"],
        says: "changes how the host key is checked",
        ..UNATTENDED
    },
];

/// Makes every call, and looks that each is refused as it must be.
pub(crate) fn check_all(journey: &Journey) -> Result<()> {
    println!("\n{:<40} exit", "wrong");
    for refusal in &REFUSALS {
        refusal.check(journey).with_context(|| refusal.what)?;
    }
    println!("{} situations were refused", REFUSALS.len());
    Ok(())
}

impl Refusal {
    fn check(&self, journey: &Journey) -> Result<()> {
        let mut landfall = install_command(journey, self.host)?;
        match self.host_key {
            HostKeyFlag::Installers => {
                landfall.args(["--installer-fingerprint", &journey.installer.fingerprint()?]);
            }
            HostKeyFlag::Another => {
                landfall.args(["--installer-fingerprint", NO_SUCH_KEY]);
            }
            HostKeyFlag::Missing => {}
        }
        let passphrase = match &self.passphrase {
            PassphraseFlag::Good => Some(journey.passphrase_file()?),
            PassphraseFlag::File(file) => Some(journey.operator.secret_file(file.name, file.text)?),
            PassphraseFlag::Missing => None,
        };
        if let Some(file) = passphrase {
            landfall.arg("--luks-passphrase-file").arg(file);
        }
        landfall.args(self.erase.iter().flat_map(|serial| ["--erase", serial])).args(self.flags);
        let result = CommandResult::of(&mut landfall)?;
        result.must_be(Some(self.exit), &[self.says])?;
        println!("{:<40} {:>4}  {}", self.what, self.exit, self.says);
        Ok(())
    }
}
