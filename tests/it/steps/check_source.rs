//! What is wrong on the operator's side is found before anything changes, by `check`
//! and by an unattended `bootstrap` alike.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::journey::{HOST, Journey, run};
use crate::common::replace;
use crate::common::sshd::{Sshd, keygen};
use crate::common::{FAILED, USAGE};
use landfall::secret::age::Identity;

/// Requires a refusal of a configuration that is changed, committed, and put back.
#[track_caller]
fn refused_config(journey: &Journey, code: i32, words: &[&str], change: impl Fn(&Path)) {
    let dir = journey.config();
    change(&dir);
    journey.commit_config("A change");
    journey.refuses(code, words, |_| ());
    journey.git(&dir, &["reset", "-q", "--hard", "HEAD~1"]);
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(' ').map(ToOwned::to_owned)
}

fn host_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("hosts/nixos/{HOST}/{name}"))
}

#[test]
fn configurations_that_cannot_be_installed_are_refused() {
    let Some(journey) = Journey::new() else { return };
    let refused = |words: &[&str], change: &dyn Fn(&Path)| {
        refused_config(&journey, USAGE, words, change);
    };
    refused(&["guppy has no disk layout", "disko"], &|dir| {
        fs::write(host_file(dir, "disks.nix"), "{ fileSystems.\"/\".device = \"/dev/x\"; }\n")
            .unwrap();
    });
    refused(&["alice has no SSH key (in the full configuration)", "--user"], &|dir| {
        replace(
            &dir.join("hosts/common/users/default.nix"),
            "openssh.authorizedKeys.keyFiles = [ ./authorized_keys ];",
            "",
        );
    });
    refused(
        &[
            "the configuration has no SSH server (in both configurations)",
            "services.openssh.enable",
        ],
        &|dir| {
            replace(
                &dir.join("hosts/common/core/openssh.nix"),
                "enable = true;",
                "enable = false;",
            );
        },
    );
    refused(&["nixosConfigurations.guppy does not evaluate", "networking.hotsName"], &|dir| {
        replace(&host_file(dir, "default.nix"), "networking.hostName", "networking.hotsName");
    });
    refused(&["does not evaluate", "syntax error"], &|dir| {
        fs::write(host_file(dir, "default.nix"), "{ networking.hostName = ").unwrap();
    });
    refused(&["landfall.toml", "usr", "unknown field"], &|dir| {
        fs::write(dir.join("landfall.toml"), "usr = \"alice\"\n").unwrap();
    });
    refused(&["secrets folder", "elsewhere", "landfall.toml"], &|dir| {
        fs::write(dir.join("landfall.toml"), "secrets = \"../elsewhere\"\n").unwrap();
    });
}

#[test]
fn a_host_key_on_a_late_file_system_is_refused() {
    let Some(journey) = Journey::with_layout("btrfs-luks-impermanence") else { return };
    journey.check().succeeds();
    let words = ["host key would be mounted too late (/persist)", "neededForBoot = true"];
    refused_config(&journey, USAGE, &words, |dir| {
        let layout = dir.join("hosts/common/disks/btrfs-luks-impermanence-disk.nix");
        replace(&layout, "neededForBoot = true", "neededForBoot = false");
    });
}

#[test]
fn hosts_and_flakes_that_do_not_exist_are_refused() {
    let Some(journey) = Journey::new() else { return };
    let before = journey.seen();
    for name in ["check", "bootstrap"] {
        let args: Vec<String> = journey.args(name);
        let other = args.iter().map(|word| if word == HOST { "eel" } else { word });
        let words = ["the configuration has no nixosConfigurations.eel", "nix flake show"];
        run(journey.landfall().args(other)).ends(USAGE, &words);

        let mut elsewhere = journey.command(assert_cmd::cargo::cargo_bin!("landfall"));
        elsewhere.arg("-C").arg(journey.home()).args(&args);
        let words = ["is not in a git repository with a flake.nix", "-C DIR", "landfall init"];
        run(&mut elsewhere).ends(USAGE, &words);

        for bad in ["../x", "a b", "-x", ""] {
            let other = args.iter().map(|word| if word == HOST { bad } else { word });
            run(journey.landfall().args(other)).ends(USAGE, &[]);
        }
    }
    assert_eq!(journey.seen(), before);
}

#[test]
fn an_installer_flake_that_is_not_there_is_refused_only_when_asked_for() {
    let Some(journey) = Journey::new() else { return };
    let dir = journey.config();
    fs::remove_dir_all(dir.join("nixos-installer")).unwrap();
    journey.commit_config("No installer");
    let words = ["there is no installer flake in", "--strategy direct"];
    journey.refuses(USAGE, &words, |args| args.extend(words_of("--strategy staged")));
    journey.check().succeeds();
}

#[test]
fn programs_that_are_missing_are_named() {
    let Some(journey) = Journey::new() else { return };
    let programs = journey.root.path().join("tmp/bin");
    for (missing, words) in [("nix", "nix is not installed"), ("git", "git")] {
        let path = path_without(&programs, missing);
        let before = journey.seen();
        for name in ["check", "bootstrap"] {
            let mut command = journey.landfall();
            let ran = run(command.env("PATH", &path).args(journey.args(name)));
            ran.ends(USAGE, &[words]);
            assert!(!ran.text.contains("things stand in the way"), "{}", ran.text);
        }
        assert_eq!(journey.seen(), before);
    }
}

/// A folder of links to every program but one.
fn path_without(dir: &Path, missing: &str) -> PathBuf {
    let dir = dir.join(missing);
    fs::create_dir_all(&dir).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for program in std::env::split_paths(&path).filter_map(|dir| fs::read_dir(dir).ok()).flatten() {
        let program = program.unwrap();
        if program.file_name() != missing {
            // The first of two wins, as in PATH.
            let _ = std::os::unix::fs::symlink(program.path(), dir.join(program.file_name()));
        }
    }
    dir
}

#[test]
fn files_that_are_not_committed_are_listed() {
    let Some(journey) = Journey::new() else { return };
    for dir in [journey.config(), journey.secrets()] {
        let (new, changed) = (dir.join("notes.txt"), dir.join("justfile"));
        let before = fs::read(&changed).unwrap();
        fs::write(&new, "x").unwrap();
        fs::write(&changed, "x").unwrap();
        let words = ["has changes that are not committed", "justfile", "notes.txt", "git stash -u"];
        journey.refuses(USAGE, &words, |_| ());
        fs::remove_file(new).unwrap();
        fs::write(changed, before).unwrap();
    }
}

#[test]
fn remotes_that_would_not_take_a_push_are_found() {
    let Some(journey) = Journey::new() else { return };
    for (name, dir) in [("nix-config", journey.config()), ("nix-secrets", journey.secrets())] {
        let original = journey.git(&dir, &["remote", "get-url", "origin"]);
        let read_only = ReadOnly::start(&journey, name);
        journey.git(&dir, &["remote", "set-url", "origin", &read_only.url]);
        journey.git(&dir, &["config", "core.sshCommand", &read_only.ssh]);
        journey.refuses(FAILED, &["has no write access here"], |_| ());
        drop(read_only);
        journey.git(&dir, &["remote", "set-url", "origin", &original]);

        // To be behind is no obstacle; to have diverged is one.
        journey.somebody_pushes(name, "theirs", "x\n");
        let before = journey.seen();
        journey.check().succeeds();
        assert_eq!(journey.seen(), before);
        fs::write(dir.join("ours"), "y\n").unwrap();
        journey.git(&dir, &["add", "ours"]);
        journey.git(&dir, &["commit", "-q", "-m", "Ours"]);
        journey.refuses(FAILED, &["have diverged", "pull --rebase origin main"], |_| ());
        journey.git(&dir, &["pull", "-q", "--rebase"]);
        journey.check().succeeds();
    }
}

/// A forge that lets everybody read and nobody write.
struct ReadOnly {
    _sshd: Sshd,
    url: String,
    ssh: String,
}

impl ReadOnly {
    fn start(journey: &Journey, name: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let host = keygen(keys.path(), "host", "ed25519");
        let line = host.public.known_hosts_line("*");
        let known = keys.path().join("known_hosts");
        fs::write(&known, format!("{line}\n")).unwrap();
        let command = "ForceCommand case \"$SSH_ORIGINAL_COMMAND\" in \
             git-upload-pack*) sh -c \"$SSH_ORIGINAL_COMMAND\" ;; \
             *) echo 'alice has no write access here' >&2; exit 1 ;; esac";
        let sshd = Sshd::start_with(keys, &[host], command);
        let user = crate::common::sshd::user_name();
        let bare = journey.remote(name);
        Self {
            url: format!("ssh://{user}@127.0.0.1:{}{}", sshd.port, bare.display()),
            ssh: format!(
                "ssh -i {} -o UserKnownHostsFile={}",
                sshd.user_key.display(),
                known.display()
            ),
            _sshd: sshd,
        }
    }
}

#[test]
fn a_first_system_without_git_is_found_before_it_is_needed() {
    let Some(journey) = Journey::new() else { return };
    let minimal = journey.config().join("nixos-installer/minimal-configuration.nix");
    let text = fs::read_to_string(&minimal).unwrap();
    fs::write(&minimal, text.replace("programs.git.enable = true;", "")).unwrap();
    journey.commit_config("Without git");
    journey.refuses(USAGE, &["has no git", "programs.git.enable", "--no-repos"], |_| ());
    journey.check_with(|args| args.push("--no-repos".into())).succeeds();
}

#[test]
fn secrets_that_the_operator_cannot_open_stop_the_run() {
    let Some(journey) = Journey::new() else { return };
    let key = journey.operator_key();
    let kept = fs::read(&key).unwrap();
    fs::write(&key, Identity::generate().key_file().expose()).unwrap();
    let words = ["sops/guppy.yaml", ".config/sops/age/keys.txt"];
    journey.refuses(USAGE, &words, |_| ());
    fs::remove_file(&key).unwrap();
    journey.refuses(USAGE, &words, |_| ());
    fs::write(&key, kept).unwrap();
    journey.check().succeeds();
}

#[test]
fn secrets_that_somebody_tampered_with_stop_the_run() {
    let Some(journey) = Journey::new() else { return };
    let dir = journey.secrets();
    let text = fs::read_to_string(journey.host_secrets()).unwrap();
    let start = text.find("sample: ENC[AES256_GCM,data:").unwrap() + 28;
    let other = if text[start..].starts_with('A') { "B" } else { "A" };
    let tampered = format!("{}{other}{}", &text[..start], &text[start + 1..]);
    fs::write(journey.host_secrets(), tampered).unwrap();
    journey.git(&dir, &["commit", "-q", "-a", "-m", "A change"]);
    journey.git(&dir, &["push", "-q"]);
    journey.refuses(USAGE, &["guppy.yaml", "sample"], |_| ());
}

#[test]
fn passphrases_that_disko_would_not_use_are_refused() {
    let Some(journey) = Journey::new() else { return };
    let file = journey.root.path().join("tmp/passphrase");
    let mut given = String::from("crypted=");
    given.push_str(file.to_str().unwrap());
    let refused = |words: &[&str]| {
        journey.check_refuses(USAGE, words, |args| {
            args.extend(["--luks-passphrase-file".to_owned(), given.clone()]);
        });
    };
    refused(&[&file.display().to_string(), "cannot be read", "--luks-passphrase-file"]);
    for (text, words) in [
        ("", "the passphrase of crypted is empty"),
        ("\n\n", "the passphrase of crypted is empty"),
        ("-n", "echo would read it as an option"),
        ("two\nlines", "line break"),
        ("a\ttab", "control character"),
    ] {
        fs::write(&file, text).unwrap();
        refused(&[words]);
    }
}

#[test]
fn flags_that_are_wrong_are_explained() {
    let Some(journey) = Journey::new() else { return };
    let bad = |args: &[&str], words: &[&str]| {
        run(journey.landfall().args(journey.args("bootstrap")).args(args)).ends(USAGE, words);
    };
    bad(&["--nonsense"], &["unexpected argument '--nonsense'", "--help"]);
    bad(&["--until", "nowhere"], &["nowhere", "check"]);
    bad(&["--skip", "check"], &["check cannot be skipped", "Leave it out"]);
    bad(&["--skip", "installer"], &["installer cannot be skipped"]);
    bad(&["--strategy", "wild"], &["wild", "staged", "direct"]);
    bad(&["-p", "99999"], &["99999"]);
    bad(&["--no-push", "--push-branch", "x"], &["cannot be used with"]);
    bad(&["--ssh-option", "StrictHostKeyChecking=no"], &["StrictHostKeyChecking", "host key"]);
    bad(&["--ssh-option", "UserKnownHostsFile=/dev/null"], &["UserKnownHostsFile"]);
    bad(&["--host-key", "/nonexistent/key"], &["/nonexistent/key", "ed25519"]);
    run(journey.landfall().args(["bootstrap", HOST])).ends(USAGE, &["the target is not named"]);
    run(journey.landfall().args(["check"])).ends(USAGE, &["HOST", "--help"]);
    run(journey.landfall().args(["bootstrap", HOST, "root@host:port"])).ends(USAGE, &["port"]);
    let words = ["nobody-here has no SSH key", "--user"];
    journey.refuses(USAGE, &words, |args| args.extend(words_of("--user nobody-here")));
}
