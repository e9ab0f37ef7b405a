//! The inputs that must be handled, each given to the real program in a real git
//! repository. A test is named by the words of its row in the table.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::common::secrets::{CONFIG, Home, SHARED, program};
use crate::common::{have, skipped};
use landfall::secret::age::{HostKeyPair, Identity};

const FOREIGN: &str = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";

fn add(file: &str) -> Vec<&str> {
    vec!["secrets", "add-host", "new", "--yes", "--key", "../host.pub", "--file", file]
}

fn add_to_rule(rule: &str) -> Vec<&str> {
    vec!["secrets", "add-host", "new", "--yes", "--key", "../host.pub", "--rule", rule]
}

#[test]
fn not_encrypted_or_empty_is_refused_by_name() {
    let Some(home) = Home::new() else { return };
    home.write("plain.yaml", "a: b\n");
    home.write("empty.yaml", "");
    home.write("plain.json", "{\"a\": 1}\n");
    home.commit();
    for file in ["plain.yaml", "plain.json"] {
        home.refused(&add(file), 2, &[file, "not encrypted"]);
        home.refused(&["secrets", "updatekeys", "--yes", file], 2, &[file, "not encrypted"]);
        home.refused(&["secrets", "rotate", "--yes", file], 2, &[file, "not encrypted"]);
    }
    home.refused(&add("empty.yaml"), 2, &["empty.yaml", "empty"]);
    home.refused(&add("none.yaml"), 2, &["none.yaml", "does not exist"]);
}

#[test]
fn no_matching_rule_gets_a_rule_and_an_earlier_catch_all_is_not_touched() {
    let config =
        format!("{CONFIG}  - path_regex: .*\n    key_groups:\n      - age:\n          - *me\n");
    let Some(home) = Home::with(&config, &[("shared.yaml", SHARED), ("own.yaml", SHARED)]) else {
        return;
    };
    let before = home.read(".sops.yaml");
    home.ok(&add("own.yaml"));
    let after = home.read(".sops.yaml");
    let new = after.find("path_regex: ^own\\.yaml$").unwrap();
    assert!(new < after.find("path_regex: .*").unwrap(), "{after}");
    let catch_all = &before[before.find("  - path_regex: .*").unwrap()..];
    assert!(after.ends_with(catch_all), "{after}");
    home.opened_by_host("own.yaml").unwrap();
    home.opened_by_host("shared.yaml").unwrap_err();
    home.commit();
    home.ok(&["secrets", "remove-host", "new", "--yes"]);
    assert_eq!(home.read(".sops.yaml"), before);

    // No rule at all: whoever reads the file now still does.
    let Some(home) = Home::with(CONFIG, &[("lonely.yaml", SHARED)]) else { return };
    home.ok(&add("lonely.yaml"));
    home.opened_by_host("lonely.yaml").unwrap();
    home.decrypt("lonely.yaml", &home.operator).unwrap();
}

#[test]
fn operators_identity_missing_or_wrong_stops_in_preflight_with_the_places() {
    let Some(home) = Home::new() else { return };
    let keys = home.path(".config/sops/age/keys.txt");
    std::fs::write(&keys, Identity::generate().text().expose()).unwrap();
    home.refused(&add("shared.yaml"), 2, &["no identity opens it", "keys.txt (1 identities)"]);
    std::fs::remove_file(&keys).unwrap();
    let places = [
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE (not set)",
        ".ssh/id_ed25519 (not there)",
        "SOPS_AGE_KEY (not set)",
        "SOPS_AGE_KEY_FILE (not set)",
        "SOPS_AGE_KEY_CMD (not set)",
        "keys.txt (not there)",
    ];
    home.refused(&add("shared.yaml"), 2, &places);
}

#[test]
fn already_up_to_date_writes_nothing_and_needs_no_identity() {
    let Some(home) = Home::new() else { return };
    home.ok(&add("shared.yaml"));
    home.commit();
    std::fs::remove_dir_all(home.path(".config")).unwrap();
    let before = home.contents();
    for args in [add("shared.yaml"), vec!["secrets", "updatekeys", "--yes"]] {
        let mut command = home.command(&args);
        // Whoever must not be asked is not.
        command.env("SOPS_AGE_KEY_CMD", format!("touch {}", home.path("asked").display()));
        let ran = home.ran(&mut command);
        assert!(ran.code == Some(0) && ran.out.contains("Nothing to do"), "{}{}", ran.out, ran.err);
    }
    home.ok(&["secrets", "updatekeys", "--check"]);
    assert!(!home.path("asked").exists());
    assert_eq!(home.contents(), before);
}

#[test]
fn mac_mismatch_or_missing_and_tampered_values_are_refused_before_re_encryption() {
    let Some(home) = Home::new() else { return };
    let good = home.read("shared.yaml");
    let line =
        |start: &str| good.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
    for (broken, word) in [
        (
            good.replace(line("a: ENC"), &line("me: ENC").trim_start().replace("me:", "a:")),
            "tampered",
        ),
        (good.replace(&format!("{}\n", line("a: ENC")), ""), "the MAC does not match"),
        (good.replace(&format!("{}\n", line("mac: ")), ""), "the MAC is missing"),
        (good.replace(line("a: ENC"), "a: by hand"), "not encrypted"),
    ] {
        home.write("shared.yaml", &broken);
        home.commit();
        home.refused(&add("shared.yaml"), 2, &["shared.yaml", word, "git"]);
    }
}

#[test]
fn several_key_groups_and_pgp_kms_plugin_recipients_go_by_sops_or_stop_with_the_command() {
    let groups = "creation_rules:\n  - path_regex: s\\.yaml$\n    key_groups:\n      - age:\n          - OPERATOR # one\n      - age:\n          - OPERATOR # two\n";
    let Some(home) = Home::with(groups, &[("s.yaml", SHARED)]) else { return };
    home.ok(&["secrets", "updatekeys", "--yes"]);
    home.commit();
    home.ok(&add("s.yaml"));
    assert!(home.read("s.yaml").contains("key_groups") && home.witnessed().contains("updatekeys"));
    home.opened_by_host("s.yaml").unwrap();
    let said = home.ok(&["secrets", "updatekeys", "--check"]);
    assert!(said.contains("Every file has the recipients of its rule"), "{said}");

    for other in [
        "pgp:\n          - 7088C7421873E0DB97FF17C2245CAB70B4C225E9",
        "kms:\n          - arn: arn:aws:kms:us-east-1:656532927350:key/920aff2e",
        "age:\n          - age1yubikey1qwlfxw5t9deg9a0lh6gqapfmwtncsgcvj4tzqslyxyf8gg2twnz7xjz0efa",
    ] {
        let rule = format!(
            "creation_rules:\n  - path_regex: s\\.yaml$\n    key_groups:\n      - {}",
            other.replace("        ", "      ")
        );
        let rule = match other.starts_with("age") {
            true => format!("{rule}\n          - OPERATOR\n"),
            false => format!("{rule}\n        age:\n          - OPERATOR\n"),
        };
        let Some(home) = Home::with(&rule, &[("s.yaml", SHARED)]) else { return };
        let command = ["sops --config", "updatekeys", "s.yaml"];
        // sops has no such key here either: nothing is written, and the command is told.
        home.refused(&add("s.yaml"), 1, &command);
        let tools = home.path("tools");
        std::fs::create_dir(&tools).unwrap();
        symlink(program("git"), tools.join("git")).unwrap();
        let before = home.contents();
        let ran = home.ran(home.command(&add("s.yaml")).env("PATH", &tools));
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(command.iter().all(|word| ran.err.contains(word)), "{}", ran.err);
        assert_eq!(home.contents(), before);
    }
}

#[test]
fn symlinked_file_or_repo_and_mode_0640_are_kept() {
    let Some(home) = Home::with(CONFIG, &[("real.yaml", SHARED)]) else { return };
    let secrets = home.path("secrets");
    symlink("real.yaml", secrets.join("shared.yaml")).unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(secrets.join("real.yaml"), mode(0o640)).unwrap();
    std::fs::set_permissions(secrets.join(".sops.yaml"), mode(0o600)).unwrap();
    home.commit();
    symlink(&secrets, home.path("link")).unwrap();
    let ran = home.ran(home.command(&add("shared.yaml")).current_dir(home.path("link")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(secrets.join("shared.yaml").is_symlink() && home.path("link").is_symlink());
    let mode = |name: &str| secrets.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("real.yaml"), mode(".sops.yaml")), (0o640, 0o600));
    home.opened_by_host("shared.yaml").unwrap();
}

#[test]
fn read_only_folder_is_found_in_preflight() {
    let Some(home) = Home::new() else { return };
    if !have("setpriv") {
        return;
    }
    let read_only = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(home.path("secrets"), read_only).unwrap();
    let before = home.contents();
    // root too, without the right to write everywhere.
    let landfall = home.command(&add("shared.yaml"));
    let mut bound = Command::new(program("setpriv"));
    bound.args(["--bounding-set", "-dac_override", "--inh-caps", "-dac_override", "--"]);
    bound.arg(landfall.get_program()).args(landfall.get_args());
    bound.current_dir(home.path("secrets")).env("HOME", home.dir.path());
    let ran = home.ran(&mut bound);
    let writable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path("secrets"), writable).unwrap();
    if ran.err.contains("setpriv:") {
        skipped(ran.err.trim());
        return;
    }
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("cannot be written") && !ran.out.contains("Written"), "{}", ran.err);
    assert_eq!(home.contents(), before);
}

#[test]
fn disk_full_leaves_the_original_intact() {
    let Some(home) = Home::new() else { return };
    assert!(home.read("shared.yaml").len() > 1024 && home.read(".sops.yaml").len() < 1024);
    let before = home.contents();
    let landfall = home.command(&add("shared.yaml"));
    // No file may become longer than 1024 bytes: writing fails as on a full disk.
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "bash"]);
    limited.arg(landfall.get_program()).args(landfall.get_args());
    limited.current_dir(home.path("secrets")).env("HOME", home.dir.path());
    let ran = home.ran(&mut limited);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("shared.yaml cannot be written") && ran.err.contains("room"));
    assert_eq!(home.contents(), before);
    assert!(home.left_overs().is_empty());
}

#[test]
fn kill_leaves_the_original_intact_and_temporary_files_go_on_the_next_run() {
    let Some(home) = Home::with(CONFIG, &[("shared.yaml", SHARED), ("deep/x.yaml", SHARED)]) else {
        return;
    };
    let before = home.contents();
    let mut command = home.command(&add("shared.yaml"));
    let killed = home.ran(command.env("LANDFALL_ABORT_AT", "write:6"));
    assert_eq!(killed.code, None, "{}", killed.err);
    assert!(!home.left_overs().is_empty());
    std::fs::write(home.path("secrets/deep/.x.yaml.landfall-new"), "half").unwrap();
    // Another command, which has nothing to write, clears up too.
    assert!(home.ok(&["secrets", "updatekeys", "--yes"]).contains("Nothing to do"));
    assert_eq!(home.contents(), before);
}

#[test]
fn anchor_exists_with_the_same_key_or_another_key_or_twice() {
    let Some(home) = Home::new() else { return };
    home.ok(&add("shared.yaml"));
    home.commit();
    let before = home.contents();
    assert!(home.ok(&add("shared.yaml")).contains("Nothing to do"));
    assert_eq!(home.contents(), before, "the same key");

    // A reinstall.
    let old = home.recipient();
    let next = HostKeyPair::generate("root@new").unwrap();
    std::fs::write(home.path("next.pub"), next.public_openssh().unwrap()).unwrap();
    let mut again = add("shared.yaml");
    again[5] = "../next.pub";
    let replaced = home.ok(&again);
    assert!(replaced.contains("Shown: the old key of new opens none"), "{replaced}");
    assert!(!home.read(".sops.yaml").contains(&old) && !home.read("shared.yaml").contains(&old));
    home.decrypt("shared.yaml", &next.identity().unwrap()).unwrap();
    home.opened_by_host("shared.yaml").unwrap_err();

    let twice = home
        .read(".sops.yaml")
        .replace("creation_rules:", &format!("  - &new {FOREIGN}\ncreation_rules:"));
    home.write(".sops.yaml", &twice);
    home.commit();
    home.refused(&add("shared.yaml"), 2, &["new", "line 3", "line 4", "--anchor"]);
}

#[test]
fn host_renamed_takes_anchor_aliases_path_regex_and_file_name_together() {
    let config = format!(
        "keys:\n  - &me OPERATOR\n  - &host_old {FOREIGN}\ncreation_rules:\n  - path_regex: hosts/old/.*\n    key_groups:\n      - age:\n          - *me\n          - *host_old\n"
    );
    let Some(home) = Home::with(&config, &[("hosts/old/a.yaml", SHARED)]) else { return };
    home.ok(&["secrets", "updatekeys", "--yes", "--grant", FOREIGN]);
    home.commit();
    let said = home.ok(&["secrets", "rename-host", "old", "young", "--yes"]);
    let config = home.read(".sops.yaml");
    for word in ["&host_young", "*host_young", "hosts/young/.*"] {
        assert!(config.contains(word), "{config}");
    }
    assert!(!config.contains("old") && !home.path("secrets/hosts/old").exists());
    home.decrypt("hosts/young/a.yaml", &home.operator).unwrap();
    // What it says to commit can be committed, and nothing is left.
    let commit = said.lines().find_map(|line| line.split_once("not committed yet: ")).unwrap().1;
    let commit = commit.replace("git -C", "git -c user.name=t -c user.email=t@t -C");
    let shell = Command::new("bash").args(["-ec", &commit]).output().unwrap();
    assert!(shell.status.success(), "{commit}: {}", String::from_utf8_lossy(&shell.stderr));
    assert_eq!(home.git(&["status", "--porcelain"]), "");
}

#[test]
fn john_doe_at_host_gets_a_valid_anchor_and_collisions_are_found() {
    let Some(home) = Home::new() else { return };
    let key = |user: &'static str, path: &'static str| {
        ["secrets", "user-key", user, "--yes", "--file", "shared.yaml", "--path", path]
    };
    home.ok(&key("john.doe@host", "age/john.doe"));
    assert!(home.read(".sops.yaml").contains("&john_doe_host age1"), "{}", home.read(".sops.yaml"));
    home.commit();
    home.refused(&key("john_doe@host", "age/other"), 2, &["john_doe_host", "--anchor"]);
    let named = [&key("john_doe@host", "age/other")[..], &["--anchor", "other_john"]].concat();
    home.ok(&named);
    assert!(home.read(".sops.yaml").contains("&other_john age1"));
}

#[test]
fn shared_age_all_warns_which_other_rules_change() {
    let config = "keys:\n  - &all\n    - &me OPERATOR\ncreation_rules:\n  - path_regex: ^shared\\.yaml$\n    age: *all\n  - path_regex: ^others\\.yaml$\n    age: *all\n";
    let Some(home) = Home::with(config, &[("shared.yaml", SHARED), ("others.yaml", SHARED)]) else {
        return;
    };
    let said = home.ok(&add("shared.yaml"));
    let warning = said.lines().find(|line| line.starts_with("warning: ")).unwrap_or(&said);
    assert!(warning.contains("^others\\.yaml$"), "{said}");
    assert!(said.contains("re-encrypted: others.yaml"), "{said}");
}

#[test]
fn crlf_bom_no_final_newline_and_non_ascii_bytes_are_kept() {
    let config = format!("\u{feff}# Schlüssel für alle — ünï\n{CONFIG}").replace('\n', "\r\n");
    let config = config.trim_end();
    let Some(home) = Home::with(config, &[("shared.yaml", "ä: ü\n")]) else { return };
    let file = home.read("shared.yaml").replace('\n', "\r\n");
    home.write("shared.yaml", file.trim_end());
    home.commit();
    let before = (home.read(".sops.yaml"), home.read("shared.yaml"));
    home.ok(&add("shared.yaml"));
    let after = (home.read(".sops.yaml"), home.read("shared.yaml"));
    for (before, after) in [(&before.0, &after.0), (&before.1, &after.1)] {
        let kept: Vec<&str> = before.split_inclusive("\r\n").collect();
        let (first, last) = (kept[0], kept[kept.len() - 1]);
        assert!(after.starts_with(first), "{after:?}");
        assert!(
            !after.ends_with('\n') && after.matches('\n').count() == after.matches("\r\n").count()
        );
        assert!(after.contains(last.trim_end()), "{after:?}");
    }
    assert!(after.0.starts_with("\u{feff}# Schlüssel für alle — ünï\r\n"));
    home.opened_by_host("shared.yaml").unwrap();
    home.commit();
    home.ok(&["secrets", "remove-host", "new", "--yes", "--no-rotate"]);
    assert_eq!(home.read(".sops.yaml"), before.0);
}

#[test]
fn keys_age_is_a_scalar_where_a_map_is_expected_is_refused() {
    let Some(home) = Home::with(CONFIG, &[("shared.yaml", "keys:\n  age: scalar\n")]) else {
        return;
    };
    let key = [
        "secrets",
        "user-key",
        "alice@new",
        "--yes",
        "--file",
        "shared.yaml",
        "--path",
        "keys/age/alice",
    ];
    home.refused(&key, 2, &["keys.age is a value, but a map is expected"]);
}

#[test]
fn user_key_already_there_is_kept_and_its_public_half_derived() {
    let alice = Identity::generate();
    let plain = format!("keys:\n  age: |\n    {}\n", alice.text().expose_str().unwrap());
    let Some(home) = Home::with(CONFIG, &[("shared.yaml", &plain)]) else { return };
    let key = [
        "secrets",
        "user-key",
        "alice@new",
        "--yes",
        "--file",
        "shared.yaml",
        "--path",
        "keys/age",
    ];
    let said = home.ok(&key);
    assert!(said.contains(alice.recipient().as_str()) && said.contains("there already"), "{said}");
    assert!(home.read(".sops.yaml").contains(&format!("&alice_new {}", alice.recipient())));
    home.decrypt("shared.yaml", &alice).unwrap();
}

#[test]
fn two_writers_are_kept_apart_by_lock_and_hash_check() {
    let Some(home) = Home::new() else { return };
    let held = std::fs::File::open(home.path("secrets")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    home.refused(&add("shared.yaml"), 1, &["another landfall"]);
    drop(held);

    // Somebody else writes while the operator's key is being asked for.
    std::fs::rename(home.path(".config/sops/age/keys.txt"), home.path("key")).unwrap();
    let other = format!(
        "sh -c 'echo \"# other\" >> {}; cat {}'",
        home.path("secrets/.sops.yaml").display(),
        home.path("key").display()
    );
    let file = home.read("shared.yaml");
    let ran = home.ran(
        home.command(&[&add("shared.yaml")[..], &["--allow-dirty"]].concat())
            .env("SOPS_AGE_KEY_CMD", &other),
    );
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("has changed since it was read"), "{}", ran.err);
    assert!(home.read(".sops.yaml").ends_with("# other\n") && home.read("shared.yaml") == file);
    // Once in a command, however often the identities are needed.
    assert_eq!(home.read(".sops.yaml").matches("# other").count(), 1);
}

#[test]
fn dirty_git_tree_is_refused_for_touched_files_and_only_named_paths_are_committed() {
    let Some(home) = Home::with(CONFIG, &[("shared.yaml", SHARED), ("else.yaml", SHARED)]) else {
        return;
    };
    home.write("else.yaml", &format!("{}\n", home.read("else.yaml")));
    home.write("note.txt", "not committed");
    let config = home.read(".sops.yaml");
    home.write(".sops.yaml", &format!("{config}# mine\n"));
    home.refused(&add("shared.yaml"), 2, &["uncommitted", ".sops.yaml", "--allow-dirty"]);
    home.write(".sops.yaml", &config);
    let head = home.git(&["rev-parse", "HEAD"]);
    let said = home.ok(&add("shared.yaml"));
    assert_eq!(home.git(&["rev-parse", "HEAD"]), head, "committing is the user's");
    let commit = said.lines().find_map(|line| line.split_once("not committed yet: ")).unwrap().1;
    assert!(commit.ends_with("commit -m MESSAGE -- .sops.yaml shared.yaml"), "{commit}");
    let commit = commit.replace("git -C", "git -c user.name=t -c user.email=t@t -C");
    assert!(Command::new("bash").args(["-ec", &commit]).output().unwrap().status.success());
    let changed = home.git(&["show", "--name-only", "--format=", "HEAD"]);
    assert_eq!(changed, ".sops.yaml\nshared.yaml\n");
    assert!(home.git(&["status", "--porcelain"]).contains(" M else.yaml"));
}

#[test]
fn multi_document_yaml_has_every_sops_block_changed() {
    let Some(home) = Home::with(CONFIG, &[("shared.yaml", "a: b\n---\nc: d\n---\ne: f\n")]) else {
        return;
    };
    home.ok(&add("shared.yaml"));
    let text = home.read("shared.yaml");
    assert_eq!(text.matches(&home.recipient()).count(), text.matches("\nsops:").count());
    assert_eq!(text.matches("\nsops:").count(), 3);
    assert_eq!(home.opened_by_host("shared.yaml").unwrap(), "a: b\n---\nc: d\n---\ne: f\n");
}

#[test]
fn a_new_rule_for_files_to_come_is_made_by_its_regex() {
    let Some(home) = Home::new() else { return };
    let before = home.read(".sops.yaml");
    home.ok(&add_to_rule("^hosts/new/.*\\.yaml$"));
    home.commit();
    home.ok(&["secrets", "rename-host", "new", "young", "--yes"]);
    assert!(home.read(".sops.yaml").contains("^hosts/young/.*"));
    home.commit();
    home.ok(&["secrets", "remove-host", "young", "--yes"]);
    assert_eq!(home.read(".sops.yaml"), before);
}

#[test]
fn a_rule_that_is_not_the_hosts_stays_though_it_holds_for_no_file() {
    let config = format!("{CONFIG}  - path_regex: ^later\\.yaml$\n    age: OPERATOR\n");
    let Some(home) = Home::with(&config, &[]) else { return };
    let before = home.read(".sops.yaml");
    home.ok(&add_to_rule("^later\\.yaml$"));
    home.commit();
    home.ok(&["secrets", "remove-host", "new", "--yes"]);
    assert_eq!(home.read(".sops.yaml"), before);
}
