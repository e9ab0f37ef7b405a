//! `landfall passphrase` on real LUKS headers, over a real sshd whose sessions see an
//! installed NixOS.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::have;
use crate::common::installer::disk;
use crate::common::journey::{HOST, Journey, Ran, files_below, run};
use crate::common::sshd::user_name;
use serde_json::json;

const RUN: &str = "00000000-0000-4000-8000-000000000001";
const OLD: &str = " canary of the old: it's 100% $(gone) ";
const NEW: &str = "canary of the new: \u{fc}\u{20ac} `id` \\ ";

/// The source, and a host with encrypted volumes in files.
struct Encrypted(Journey);

impl Encrypted {
    fn new() -> Option<Self> {
        if !have("cryptsetup") {
            return None;
        }
        let journey = Journey::new()?;
        journey.target.runs("nixos", "");
        let dir = journey.state().join(HOST).join(RUN);
        fs::create_dir_all(dir.join("keys")).unwrap();
        let key = journey.target.sshd.host_key.to_string();
        fs::write(dir.join("keys/ssh_host_ed25519_key.pub"), key).unwrap();
        let address = format!("{}@127.0.0.1:{}", user_name(), journey.target.sshd.port);
        let line = |entry: &str| format!("{{\"time\":\"2026-01-01T00:00:00Z\",{entry}}}\n");
        let begun = format!(
            "\"kind\":\"run\",\"run\":\"{RUN}\",\"host\":\"{HOST}\",\"strategy\":\"staged\",\
             \"target\":\"root@192.0.2.1\""
        );
        let reboot = format!(
            "\"kind\":\"finished\",\"step\":\"reboot\",\"seconds\":1.0,\"evidence\":\
             {{\"summary\":\"\",\"facts\":{{\"address\":\"{address}\"}}}}"
        );
        fs::write(dir.join("journal.jsonl"), line(&begun) + &line(&reboot)).unwrap();
        let host = Self(journey);
        host.write("old", OLD);
        host.write("new", &format!("{NEW}\n"));
        Some(host)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.home().join(name)
    }

    /// A volume that OLD opens, in a file of this name.
    fn volume(&self, name: &str, format: &[&str]) -> Header {
        let file = self.0.target.file(name);
        fs::File::create(&file).unwrap().set_len(32 << 20).unwrap();
        let volume = Header(file);
        let cost = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let format = if format.is_empty() { &cost[..] } else { format };
        let made =
            volume.cryptsetup(&[&["luksFormat", "-q", "--key-file", "-"], format].concat(), OLD);
        assert_eq!(made.code, Some(0), "{}", made.text);
        volume
    }

    fn command(&self, more: &[&str]) -> Command {
        let key = self.0.target.sshd.user_key.display().to_string();
        let mut command = self.0.landfall();
        command.args(["passphrase", HOST, "--yes", "-i", &key]).args(more);
        command
    }

    /// With both passphrases in files.
    fn change(&self, volumes: &[&Header]) -> Command {
        let mut command = self.command(&[]);
        for volume in volumes {
            command.arg("--volume").arg(&volume.0);
        }
        command.arg("--old-passphrase-file").arg(self.file("old"));
        command.arg("--new-passphrase-file").arg(self.file("new"));
        command
    }
}

/// A LUKS header in a file.
struct Header(PathBuf);

impl Header {
    fn cryptsetup(&self, words: &[&str], input: &str) -> Ran {
        let mut cryptsetup = Command::new("cryptsetup");
        cryptsetup.args(words).arg(&self.0).stdin(Stdio::piped());
        let mut child = cryptsetup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        Ran { code: output.status.code(), stdout, text }
    }

    fn opens(&self, passphrase: &str) -> bool {
        let test = ["open", "--test-passphrase", "--token-type", "none", "--key-file", "-"];
        self.cryptsetup(&test, passphrase).code == Some(0)
    }

    /// Gives `passphrase` a slot, as OLD has one.
    fn add(&self, host: &Encrypted, passphrase: &str) {
        let file = host.file("added");
        fs::write(&file, passphrase).unwrap();
        let mut cryptsetup = Command::new("cryptsetup");
        cryptsetup.args(["luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations"]);
        cryptsetup.arg("1000").arg("--key-file").arg(host.file("old")).arg(&self.0).arg(&file);
        run(&mut cryptsetup).succeeds();
    }

    fn slots(&self) -> Vec<String> {
        let dump = self.cryptsetup(&["luksDump", "--dump-json-metadata"], "");
        let dump: serde_json::Value = serde_json::from_str(&dump.stdout).unwrap();
        let slots = dump["keyslots"].as_object().unwrap();
        slots.values().map(|slot| slot["kdf"].to_string()).collect()
    }

    /// Only the new passphrase opens it.
    #[track_caller]
    fn is_changed(&self) {
        assert!(self.opens(NEW), "the new passphrase does not open it");
        assert!(!self.opens(OLD), "the old passphrase opens it");
    }

    #[track_caller]
    fn is_as_before(&self) {
        assert!(self.opens(OLD), "the old passphrase does not open it");
        assert!(!self.opens(NEW), "the new passphrase opens it");
    }
}

#[test]
fn the_new_passphrase_takes_the_place_of_the_old_one() {
    let Some(host) = Encrypted::new() else { return };
    let (one, two) = (host.volume("one", &[]), host.volume("two", &[]));
    run(&mut host.change(&[&one, &two]))
        .ends(0, &["the new passphrase opens it, and the old one no longer"]);
    one.is_changed();
    two.is_changed();
    assert_eq!(one.slots().len(), 1);
    run(&mut host.change(&[&one])).ends(0, &["done already"]);
    one.is_changed();
    for file in files_below(host.0.state().as_path()) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for canary in ["canary of the old", "canary of the new"] {
            assert!(!text.contains(canary), "{canary} is in {}", file.display());
        }
    }
}

#[test]
fn neither_passphrase_is_an_argument_or_in_an_environment() {
    let Some(host) = Encrypted::new() else { return };
    if !have("strace") {
        return;
    }
    let volume = host.volume("volume", &[]);
    let trace = host.0.root.path().join("trace");
    let mut strace = host.0.command("strace");
    strace.args(["-f", "-qq", "-v", "-s", "65536", "-e", "trace=execve", "-o"]).arg(&trace);
    // What runs on the machine, too, where sshd's children cannot be traced from here.
    host.0.target.script(
        "bin/cryptsetup",
        "tr '\\0' '\\n' < /proc/$$/cmdline >> \"$target/seen\"; env >> \"$target/seen\"
         exec /usr/sbin/cryptsetup \"$@\"",
    );
    let change = host.change(&[&volume]);
    strace.arg(change.get_program()).args(change.get_args());
    run(&mut strace).succeeds();
    volume.is_changed();
    let seen = fs::read_to_string(host.0.target.file("seen")).unwrap();
    assert!(seen.contains("luksAddKey"), "{seen}");
    for text in [seen, fs::read_to_string(&trace).unwrap()] {
        assert!(!text.contains("canary of the"), "{text}");
    }
}

#[test]
fn a_change_that_was_interrupted_is_completed() {
    let Some(host) = Encrypted::new() else { return };
    let volume = host.volume("volume", &[]);
    let crash = |point: &str| {
        let ran = run(host.change(&[&volume]).env("LANDFALL_ABORT_AT", point));
        assert_eq!(ran.code, None, "{}", ran.text);
    };
    crash("write:0");
    volume.is_as_before();
    crash("write:1");
    assert!(volume.opens(OLD) && volume.opens(NEW));
    // From here on there is one change less to make.
    crash("write:0");
    assert!(volume.opens(OLD) && volume.opens(NEW));
    run(&mut host.change(&[&volume])).ends(0, &["now the old one does so no longer"]);
    volume.is_changed();
}

#[test]
fn other_slots_stay_and_the_key_is_derived_as_before() {
    let Some(host) = Encrypted::new() else { return };
    let volume = host.volume(
        "volume",
        &["--pbkdf", "pbkdf2", "--hash", "sha512", "--pbkdf-force-iterations", "2000"],
    );
    volume.add(&host, "recovery");
    // The old one twice, as a layout that was formatted in two steps may leave it.
    volume.add(&host, OLD);
    run(&mut host.change(&[&volume])).ends(0, &["1 more key slots open it as before"]);
    volume.is_changed();
    assert!(volume.opens("recovery"));
    let costs = volume.slots();
    assert_eq!(costs.len(), 2);
    let like_the_old =
        |kdf: &&String| kdf.contains("\"iterations\":2000") && kdf.contains("sha512");
    assert_eq!(costs.iter().filter(like_the_old).count(), 1, "{costs:?}");
    let argon = host.volume(
        "argon",
        &["--pbkdf", "argon2id", "--pbkdf-memory", "64", "--pbkdf-force-iterations", "4"],
    );
    let before: Vec<String> = argon.slots().iter().map(|kdf| without_salt(kdf)).collect();
    run(&mut host.change(&[&argon])).succeeds();
    let after: Vec<String> = argon.slots().iter().map(|kdf| without_salt(kdf)).collect();
    assert_eq!(before, after);
    let first = host.volume("luks1", &["--type", "luks1", "--pbkdf-force-iterations", "1000"]);
    run(&mut host.change(&[&first])).succeeds();
    first.is_changed();
}

fn without_salt(kdf: &str) -> String {
    let mut kdf: serde_json::Value = serde_json::from_str(kdf).unwrap();
    kdf.as_object_mut().unwrap().remove("salt");
    kdf.to_string()
}

#[test]
fn what_is_wrong_changes_nothing() {
    let Some(host) = Encrypted::new() else { return };
    let volume = host.volume("volume", &[]);
    let volume_path = volume.0.display().to_string();
    let (old, new) = (host.file("old"), host.file("new"));
    let with = |old: &PathBuf, new: &PathBuf| {
        run(host
            .command(&["--volume", &volume_path, "--old-passphrase-file"])
            .arg(old)
            .arg("--new-passphrase-file")
            .arg(new))
    };
    for (name, bad, says) in [
        ("empty", "\n".to_owned(), "is empty"),
        ("lines", "a\nb".to_owned(), "line break"),
        ("tab", "a\tb".to_owned(), "control character"),
        ("zero", "a\0b".to_owned(), "NUL byte"),
        ("long", "x".repeat(513), "longer than 512 bytes"),
    ] {
        host.write(name, &bad);
        with(&old, &host.file(name)).ends(2, &[says]);
    }
    with(&host.file("none"), &new).ends(2, &["cannot be read"]);
    host.write("wrong", "wrong");
    with(&host.file("wrong"), &new).ends(3, &["neither passphrase opens", "Nothing was changed"]);
    // The same for both: there is nothing to do.
    with(&old, &old).ends(0, &["done already"]);
    let nothing = host.0.target.file("nothing");
    fs::write(&nothing, "no LUKS").unwrap();
    run(&mut host.change(&[&Header(nothing)])).ends(2, &["is not a LUKS volume"]);
    run(&mut host.command(&["--volume", "nowhere"])).ends(2, &["there is no open volume nowhere"]);
    run(&mut host.command(&["--volume", &volume_path])).ends(3, &["--old-passphrase-file FILE"]);
    run(host.command(&["--volume", &volume_path, "--old-passphrase-file"]).arg(&old))
        .ends(3, &["--new-passphrase-file FILE"]);
    volume.is_as_before();
    assert_eq!(volume.slots().len(), 1);
}

#[test]
fn volumes_are_found_by_name() {
    let Some(host) = Encrypted::new() else { return };
    let (one, two) = (host.volume("one", &[]), host.volume("two", &[]));
    let has = |volumes: &[(&Header, &str)]| {
        let mut disk = disk("/dev/landfall-test-1", "S1", 32);
        let parts = volumes.iter().map(|(header, name)| {
            json!({"path": header.0, "type": "part", "size": 1, "fstype": "crypto_LUKS", "children": [
                {"path": format!("/dev/mapper/{name}"), "type": "crypt", "size": 1, "fstype": "ext4"}]})
        });
        disk["children"] = parts.collect();
        host.0.target.has_disks(&[disk]);
    };
    has(&[]);
    run(&mut host.change(&[])).ends(2, &["guppy has no encrypted volume"]);
    has(&[(&one, "crypted"), (&two, "vault")]);
    run(&mut host.change(&[])).ends(3, &["encrypted are crypted, vault", "--volume NAME"]);
    run(host.change(&[]).args(["--volume", "vault"])).ends(0, &["vault: the new passphrase"]);
    two.is_changed();
    one.is_as_before();
    has(&[(&one, "crypted")]);
    run(&mut host.change(&[])).ends(0, &["crypted: the new passphrase"]);
    one.is_changed();
}

#[test]
fn what_the_secrets_repository_keeps_follows() {
    let Some(host) = Encrypted::new() else { return };
    let volume = host.volume("volume", &[]);
    let place = "identities/guppy.yaml:luks/volume";
    let change = || {
        let mut command = host.command(&["--luks-passphrase-secret", place, "--volume"]);
        command.arg(&volume.0).arg("--new-passphrase-file").arg(host.file("new"));
        command
    };
    run(&mut change()).ends(2, &["there is no passphrase at luks/volume"]);
    store(&host, OLD);
    let crashed = run(change().env("LANDFALL_ABORT_AT", "write:1"));
    assert_eq!(crashed.code, None, "{}", crashed.text);
    run(&mut change()).ends(0, &["identities/guppy.yaml keeps the new passphrase"]);
    volume.is_changed();
    assert_eq!(kept(&host), NEW);
    let head = host.0.git(&host.0.secrets(), &["rev-parse", "HEAD"]);
    assert_eq!(host.0.remote_main("nix-secrets"), head);
    let message = host.0.git(&host.0.secrets(), &["log", "-1", "--format=%s"]);
    assert!(message.starts_with("guppy: new passphrase of "), "{message}");
    run(&mut change()).ends(0, &["done already"]);
    assert_eq!(host.0.git(&host.0.secrets(), &["rev-parse", "HEAD"]), head);
}

/// Lets the operator keep a passphrase in the repository, as `bootstrap` would.
fn store(host: &Encrypted, passphrase: &str) {
    let secrets = host.0.secrets();
    let file = secrets.join("identities/guppy.yaml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let identity = fs::read_to_string(host.0.operator_key()).unwrap();
    let recipient = identity.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    fs::write(&file, json!({ "luks": { "volume": passphrase } }).to_string()).unwrap();
    let mut sops = host.0.command("sops");
    sops.args(["--config", "/dev/null", "encrypt", "--in-place", "--age", recipient]);
    sops.args(["--input-type", "json", "--output-type", "yaml"]);
    run(sops.arg(&file)).succeeds();
    let rules = fs::read_to_string(secrets.join(".sops.yaml")).unwrap();
    let own = format!(
        "creation_rules:\n  - path_regex: ^identities/guppy\\.yaml$\n    key_groups:\n      \
         - age:\n          - {recipient}\n"
    );
    fs::write(secrets.join(".sops.yaml"), rules.replacen("creation_rules:\n", &own, 1)).unwrap();
    host.0.git(&secrets, &["add", "--all"]);
    host.0.git(&secrets, &["commit", "-q", "-m", "Keep the passphrase"]);
    host.0.git(&secrets, &["push", "-q"]);
}

fn kept(host: &Encrypted) -> String {
    let mut sops = host.0.command("sops");
    sops.args(["decrypt", "--extract", "[\"luks\"][\"volume\"]"]);
    run(sops.arg(host.0.secrets().join("identities/guppy.yaml"))).succeeds().stdout.clone()
}

#[test]
fn a_person_is_asked_and_types_the_new_one_twice() {
    let Some(host) = Encrypted::new() else { return };
    let volume = host.volume("volume", &[]);
    let key = host.0.target.sshd.user_key.display().to_string();
    let mut command = host.0.landfall();
    command.args(["passphrase", HOST, "-i", &key, "--volume"]).arg(&volume.0);
    command.env("TERM", "xterm");
    let mut session = rexpect::session::spawn_command(command, Some(120_000)).unwrap();
    session.exp_string("now: ").unwrap();
    session.send_line(OLD).unwrap();
    for typed in [NEW, "something else", NEW, NEW] {
        session.exp_string("New passphrase for ").unwrap();
        session.exp_string(": ").unwrap();
        session.send_line(typed).unwrap();
    }
    session.exp_string("old one no longer").unwrap();
    let rest = session.exp_eof().unwrap();
    assert!(!rest.contains("canary"), "{rest}");
    volume.is_changed();
}

#[test]
fn wrong_use_is_said_before_anything_is_done() {
    let landfall = |words: &[&str]| {
        run(Command::new(assert_cmd::cargo::cargo_bin!("landfall")).arg("passphrase").args(words))
    };
    landfall(&["guppy", "--luks-passphrase-secret", "a:b", "--old-passphrase-file", "x"])
        .ends(2, &["cannot be used with"]);
    landfall(&["guppy", "--luks-passphrase-secret", "nowhere"]).ends(2, &["names no file and key"]);
    landfall(&["--help"]).ends(0, &["Examples:", "landfall passphrase guppy"]);
}
