//! Whoever may push to the secrets is not yet one of those who may read them: what a rule
//! lets anybody gain is for a person to grant, in every command that re-encrypts.

use crate::common::secrets::{CONFIG, Home, SHARED};
use landfall::secret::age::Identity;

/// The rules, with somebody else's key in the rule of shared.yaml.
fn with_intruder(home: &Home, intruder: &Identity) -> String {
    home.read(".sops.yaml").replace(
        "          - *me\n",
        &format!("          - *me\n          - &helper {}\n", intruder.recipient()),
    )
}

const ADD: [&str; 8] =
    ["secrets", "add-host", "new", "--yes", "--key", "../host.pub", "--file", "shared.yaml"];

#[test]
fn a_key_that_somebody_pushed_into_a_rule_is_for_a_person_to_grant() {
    let Some(home) = Home::new() else { return };
    home.ok(&ADD);
    home.commit();
    let intruder = Identity::generate();
    let recipient = intruder.recipient().to_string();
    home.write(".sops.yaml", &with_intruder(&home, &intruder));
    home.commit();
    let named = format!("shared.yaml: {recipient}");
    let key = ["--file", "shared.yaml", "--path", "keys/x"];
    let user_key = [&["secrets", "user-key", "me@new", "--yes"], &key[..]].concat();
    for args in [
        &["secrets", "updatekeys", "--yes"][..],
        &["secrets", "rekey", "--yes", "shared.yaml"],
        &["secrets", "remove-host", "new", "--yes"],
        &user_key,
    ] {
        home.refused(args, 3, &[&named, "--grant", &recipient]);
        let shown = home.ok(&[&args[..args.len()], &["--dry-run"]].concat());
        assert!(
            shown.contains(&format!("gains access: {named} (.sops.yaml calls it \"helper\")")),
            "{args:?}: {shown}"
        );
    }
    // Another name for the host re-encrypts nothing; new data keys are for those who are there.
    home.ok(&["secrets", "rename-host", "new", "young", "--yes"]);
    home.ok(&["secrets", "rotate", "--yes", "--allow-dirty"]);
    assert!(
        !home.opens("shared.yaml", &intruder) && !home.read("shared.yaml").contains(&recipient)
    );
    home.git(&["checkout", "-q", "."]);

    // Another recipient's grant is no answer, and the check names who it is.
    home.refused(&["secrets", "updatekeys", "--yes", "--grant", "age1other"], 3, &[&recipient]);
    let check = home.run(&["secrets", "updatekeys", "--check"]);
    assert!(check.code == Some(1) && check.out.contains(&recipient), "{}", check.out);
    home.ok(&["secrets", "updatekeys", "--yes", "--grant", &recipient]);
    assert!(home.opens("shared.yaml", &intruder));
    home.commit();
    home.ok(&["secrets", "updatekeys", "--check"]);
}

#[test]
fn the_key_that_a_command_is_told_to_add_needs_no_grant_and_no_other_comes_with_it() {
    let Some(home) = Home::new() else { return };
    let intruder = Identity::generate();
    home.write(".sops.yaml", &with_intruder(&home, &intruder));
    home.commit();
    let recipient = intruder.recipient().to_string();
    let refused = home.refused(&ADD, 3, &[&recipient]);
    assert!(!refused.err.contains(&home.recipient()), "{}", refused.err);
    home.git(&["reset", "-q", "--hard", "HEAD~1"]);
    home.ok(&ADD);
    home.opened_by_host("shared.yaml").unwrap();
}

#[test]
fn a_rule_above_another_that_takes_its_files_over_is_noticed() {
    let Some(home) = Home::new() else { return };
    let intruder = Identity::generate();
    let recipient = intruder.recipient().to_string();
    let above = format!(
        "creation_rules:\n  - path_regex: share\n    age: {},{recipient}\n",
        home.operator.recipient()
    );
    home.write(".sops.yaml", &home.read(".sops.yaml").replace("creation_rules:\n", &above));
    home.commit();
    home.refused(&["secrets", "updatekeys", "--yes"], 3, &["shared.yaml: ", &recipient]);
    let add = [&ADD[..ADD.len() - 2], &["--rule", "share"]].concat();
    home.refused(&add, 3, &["shared.yaml: ", &recipient]);
}

#[test]
fn groups_that_become_weaker_are_a_gain() {
    let (one, two) = (Identity::generate(), Identity::generate());
    let rule = format!(
        "creation_rules:\n  - path_regex: ^s\\.yaml$\n    shamir_threshold: 2\n    key_groups:\n      - age: [OPERATOR, {0}]\n      - age: [OPERATOR, {1}]\n",
        one.recipient(),
        two.recipient()
    );
    let Some(home) = Home::with(&rule, &[("s.yaml", SHARED)]) else { return };
    let (one, two) = (one.recipient().to_string(), two.recipient().to_string());
    home.ok(&["secrets", "updatekeys", "--yes", "--grant", &one, "--grant", &two]);
    home.commit();
    home.ok(&["secrets", "updatekeys", "--check"]);
    let strong = home.read(".sops.yaml");
    home.write(".sops.yaml", &strong.replace("shamir_threshold: 2", "shamir_threshold: 1"));
    home.commit();
    let check = home.run(&["secrets", "updatekeys", "--check"]);
    assert!(check.code == Some(1) && check.out.contains("other key groups"), "{}", check.out);
    home.write(
        ".sops.yaml",
        &strong
            .replace("]\n      - age: [", ",")
            .replace("shamir_threshold: 2", "shamir_threshold: 0"),
    );
    home.commit();
    home.refused(&["secrets", "updatekeys", "--yes"], 3, &[&one, &two]);
}

#[test]
fn a_name_in_a_file_with_nothing_behind_it_gets_no_key() {
    let Some(home) = Home::new() else { return };
    let intruder = Identity::generate();
    home.write(".sops.yaml", &with_intruder(&home, &intruder));
    // The section of a file is not covered by its MAC: anybody can write a name into it.
    let forged = home.read("shared.yaml").replacen(
        "    age:\n",
        &format!(
            "    age:\n        - recipient: {}\n          enc: |\n            none\n",
            intruder.recipient()
        ),
        1,
    );
    assert!(forged.contains(intruder.recipient().as_str()), "{forged}");
    home.write("shared.yaml", &forged);
    home.commit();
    home.ok(&ADD);
    home.opened_by_host("shared.yaml").unwrap();
    assert!(!home.opens("shared.yaml", &intruder));
}

#[test]
fn a_pgp_key_is_granted_by_its_fingerprint() {
    if !crate::common::have("gpg") {
        return;
    }
    let Some(home) = Home::with(CONFIG, &[("shared.yaml", SHARED)]) else { return };
    let gnupg = home.path("gnupg");
    std::fs::create_dir(&gnupg).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&gnupg, private).unwrap();
    let gpg = |args: &[&str]| {
        let run = std::process::Command::new("gpg")
            .args(["--batch", "-q"])
            .args(args)
            .env("GNUPGHOME", &gnupg)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    gpg(&[
        "--passphrase",
        "",
        "--quick-gen-key",
        "carol@example.org",
        "default",
        "default",
        "never",
    ]);
    let listed = gpg(&["--with-colons", "--list-secret-keys"]);
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap();
    let fingerprint = fingerprint.trim_matches(':').to_owned();
    let rules = home.read(".sops.yaml");
    home.write(".sops.yaml", &format!("{rules}        pgp:\n          - {fingerprint}\n"));
    home.commit();
    let run = |args: &[&str]| home.ran(home.command(args).env("GNUPGHOME", &gnupg));
    let refused = run(&["secrets", "updatekeys", "--yes"]);
    assert_eq!(refused.code, Some(3), "{}", refused.err);
    assert!(refused.err.contains(&format!("shared.yaml: pgp {fingerprint}")), "{}", refused.err);
    let granted = run(&["secrets", "updatekeys", "--yes", "--grant", &fingerprint]);
    assert_eq!(granted.code, Some(0), "{}", granted.err);
    home.commit();
    assert_eq!(run(&["secrets", "updatekeys", "--check"]).code, Some(0));
    // Another fingerprint in the rule is seen without any key.
    home.write(
        ".sops.yaml",
        &home.read(".sops.yaml").replace(&fingerprint, &fingerprint.replace('A', "B")),
    );
    home.commit();
    let late = run(&["secrets", "updatekeys", "--check"]);
    assert!(
        late.code == Some(1) && late.out.contains(&format!("still has pgp {fingerprint}")),
        "{}",
        late.out
    );
}
