//! `landfall keys` and `landfall secrets` as a person and a script use them.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::secrets::Home;
use landfall::secret::age::HostKeyPair;

#[test]
fn a_host_key_becomes_a_recipient_and_its_private_half_only_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str], input: &str| {
        std::fs::write(dir.path().join("in"), input).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(args)
            .current_dir(dir.path())
            .stdin(std::fs::File::open(dir.path().join("in")).unwrap())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "x", "-f"])
        .arg(dir.path().join("key"))
        .status()
        .unwrap();
    assert!(made.success());
    let private = std::fs::read_to_string(dir.path().join("key")).unwrap();
    let expected = HostKeyPair::parse(&private).unwrap();
    let recipient = format!("{}\n", expected.recipient().unwrap());

    assert_eq!(
        run(&["keys", "to-age", "key.pub"], ""),
        (Some(0), recipient.clone(), String::new())
    );
    let scanned = format!(
        "# box:22 SSH-2.0\nbox ssh-rsa AAAAB3Nz\nbox {}",
        std::fs::read_to_string(dir.path().join("key.pub")).unwrap()
    );
    assert_eq!(run(&["keys", "age", "-"], &scanned), (Some(0), recipient.clone(), String::new()));

    let (code, out, err) = run(&["keys", "to-age", "key"], "");
    assert!(code == Some(2) && out.is_empty() && err.contains("--private-key"), "{err}");
    assert_eq!(run(&["keys", "to-age", "key", "--private-key", "id.txt"], "").1, recipient);
    let written = std::fs::read_to_string(dir.path().join("id.txt")).unwrap();
    assert!(written.contains(expected.identity().unwrap().text().expose_str().unwrap()));
    assert_eq!(
        std::fs::metadata(dir.path().join("id.txt")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        run(&["keys", "to-age", "key", "--private-key", "id.txt"], "").0,
        Some(2),
        "a key was overwritten"
    );

    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(dir.path().join("rsa"))
        .status()
        .unwrap();
    assert!(made.success());
    let (code, _, err) = run(&["keys", "to-age", "rsa.pub"], "");
    assert!(code == Some(2) && err.contains("only ed25519"), "{err}");
}

#[test]
fn a_host_comes_and_goes() {
    let Some(home) = Home::new() else { return };
    let (config, file) = (home.read(".sops.yaml"), home.read("shared.yaml"));
    let add = ["secrets", "add-host", "new", "--key", "../host.pub", "--file", "shared.yaml"];
    let with = |more: &[&'static str]| [&add[..], more].concat();

    let shown = home.ok(&with(&["--dry-run"]));
    assert!(
        shown.contains("+  - &new age1") && shown.contains("re-encrypted: shared.yaml"),
        "{shown}"
    );
    let asked = home.run(&add);
    assert!(asked.code == Some(3) && asked.err.contains("--yes"), "{}", asked.err);
    assert_eq!(
        (home.read(".sops.yaml"), home.read("shared.yaml")),
        (config.clone(), file.clone()),
        "written without a yes"
    );

    home.ok(&with(&["--yes"]));
    assert!(home.read("shared.yaml").contains(home.host.recipient().unwrap().as_str()));
    assert!(home.run(&with(&["--yes"])).out.contains("Nothing to do"));
    home.commit();
    home.ok(&["secrets", "updatekeys", "--check"]);
    assert!(home.ok(&["secrets", "verify", "--all"]).starts_with("1 file(s)"));

    home.ok(&["secrets", "rotate", "--yes", "shared.yaml"]);
    home.commit();
    let removed = home.ok(&["secrets", "remove-host", "new", "--yes"]);
    assert!(removed.contains("history"), "{removed}");
    assert_eq!(home.read(".sops.yaml"), config);
    assert!(!home.read("shared.yaml").contains(home.host.recipient().unwrap().as_str()));
    home.commit();
    home.ok(&["secrets", "verify", "--all"]);

    // sops was used for the rotations: it was never told a key but in memory.
    let witness = home.witnessed();
    assert!(
        witness.contains("rotate") && witness.contains("SOPS_AGE_KEY_FILE=/proc/"),
        "{witness}"
    );
    assert!(!witness.contains("AGE-SECRET-KEY"), "sops saw a key");
}

#[test]
fn a_user_key_is_made_once_and_kept() {
    let Some(home) = Home::new() else { return };
    let key = [
        "secrets",
        "user-key",
        "alice@new",
        "--yes",
        "--file",
        "shared.yaml",
        "--path",
        "keys/age/alice_new",
    ];
    let made = home.ok(&key);
    assert!(made.contains("(made)") && made.contains("&alice_new age1"), "{made}");
    home.commit();
    home.ok(&["secrets", "verify", "--all"]);
    let again = home.ok(&key);
    assert!(again.contains("there already") && again.contains("Nothing to do"), "{again}");
    assert_eq!(
        made.lines().next().unwrap().replace("made", ""),
        again.lines().next().unwrap().replace("there already", "")
    );
    // The stored key is the one whose recipient was added.
    let recipient = made.split(' ').find(|word| word.starts_with("age1")).unwrap();
    assert!(home.read("shared.yaml").contains(recipient));
    let witness = home.witnessed();
    assert!(witness.contains("--value-stdin") && !witness.contains("AGE-SECRET-KEY"), "{witness}");

    for (path, reason) in [
        ("users/me/alice", "a map is expected"),
        ("users/me", "not an age key"),
        ("users", "not an age key"),
    ] {
        let ran = home.run(&[
            "secrets",
            "user-key",
            "alice@new",
            "--yes",
            "--file",
            "shared.yaml",
            "--path",
            path,
        ]);
        assert!(ran.code == Some(2) && ran.err.contains(reason), "{path}: {}", ran.err);
    }
}

#[test]
fn keys_that_a_killed_run_left_are_removed() {
    let Some(home) = Home::new() else { return };
    let temporary = home.path("tmp");
    // No process has this number: it is above the largest that Linux gives out.
    let left = temporary.join("landfall-sops-4194399-x/keys");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("keys.txt"), home.operator.text().expose()).unwrap();
    let aged =
        Command::new("touch").args(["-d", "1 hour ago"]).arg(left.parent().unwrap()).status();
    assert!(aged.unwrap().success());
    let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["secrets", "rotate", "--yes"])
        .current_dir(home.path("secrets"))
        .env("HOME", home.dir.path())
        .env("TMPDIR", &temporary)
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn keys_of_a_run_that_was_killed_just_now_go_and_those_of_one_at_work_stay() {
    let Some(home) = Home::new() else { return };
    let temporary = home.path("tmp");
    let folder = |name: &str| {
        let dir = temporary.join(name);
        std::fs::create_dir_all(dir.join("keys")).unwrap();
        std::fs::write(dir.join("keys/keys.txt"), "a key").unwrap();
        std::fs::File::create(dir.join("lock")).unwrap()
    };
    let (killed, at_work) = (folder("landfall-sops-1-x"), folder("landfall-sops-4194399-x"));
    drop(killed);
    at_work.lock().unwrap();
    let rotate = ["secrets", "rotate", "--yes"];
    let ran = home.ran(home.command(&rotate).env("TMPDIR", &temporary));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let left: Vec<_> =
        std::fs::read_dir(&temporary).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["landfall-sops-4194399-x"]);
}

#[test]
fn what_is_out_of_date_is_told_and_brought_up_to_date() {
    let Some(home) = Home::new() else { return };
    let config = home.read(".sops.yaml").replace(
        "          - *me\n",
        &format!("          - *me\n          - {} # spare\n", home.host.recipient().unwrap()),
    );
    std::fs::write(home.path("secrets/.sops.yaml"), config).unwrap();
    home.commit();
    let check = home.run(&["secrets", "updatekeys", "--check"]);
    assert!(check.code == Some(1) && check.out.contains("lacks age1"), "{}", check.out);
    let verify = home.run(&["secrets", "verify", "--all"]);
    assert!(
        verify.code == Some(1) && verify.err.contains("landfall secrets updatekeys"),
        "{}",
        verify.err
    );
    // What a rule adds is for a person to grant.
    let spare = home.recipient();
    home.refused(&["secrets", "rekey", "--yes"], 3, &["shared.yaml: ", &spare, "--grant"]);
    home.ok(&["secrets", "rekey", "--yes", "--grant", &spare]);
    home.ok(&["secrets", "updatekeys", "--check"]);
}

#[test]
fn refusals_name_the_reason_and_a_way() {
    let Some(home) = Home::new() else { return };
    let refused = |args: &[&str], code, words: &[&str]| home.refused(args, code, words);
    std::fs::write(home.path("secrets/plain.yaml"), "a: b\n").unwrap();
    std::fs::write(home.path("secrets/empty.yaml"), "").unwrap();
    let add = |file: &'static str| {
        ["secrets", "add-host", "new", "--yes", "--key", "../host.pub", "--file", file]
    };
    refused(&add("plain.yaml"), 2, &["plain.yaml", "not encrypted"]);
    refused(&add("empty.yaml"), 2, &["empty.yaml", "empty"]);
    refused(&add("nothing.yaml"), 2, &["nothing.yaml", "does not exist"]);
    refused(&["secrets", "updatekeys", "--yes", "plain.yaml"], 2, &["not encrypted"]);
    refused(&["secrets", "remove-host", "nobody", "--yes"], 2, &["nobody"]);
    refused(
        &["secrets", "add-host", "new", "--yes", "--key", "nothing"],
        2,
        &["nothing", "cannot be read"],
    );
    // Without files and without a configuration the rules are a guess, and nobody is there to ask.
    refused(&["secrets", "add-host", "shared", "--yes", "--key", "../host.pub"], 3, &["--rule"]);

    std::fs::write(
        home.path("secrets/shared.yaml"),
        home.read("shared.yaml").replacen("a: ENC", "c: ENC", 1),
    )
    .unwrap();
    home.commit();
    refused(&add("shared.yaml"), 2, &["shared.yaml", "tampered", "git"]);
    home.git(&["revert", "--no-edit", "HEAD"]);

    std::fs::rename(home.path(".config"), home.path("elsewhere")).unwrap();
    refused(
        &add("shared.yaml"),
        2,
        &["no identity opens it", "SOPS_AGE_KEY_FILE", "keys.txt (not there)"],
    );
}
