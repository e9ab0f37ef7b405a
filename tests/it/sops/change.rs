//! Adding, replacing and removing a host in a real git repo with files made by real sops.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::secrets::sops;
use crate::common::skipped;
use landfall::error::Advice;
use landfall::secret::age::{HostKeyPair, Identity};
use landfall::sops::change;
use landfall::sops::change::{Change, EditSettings, Grants, SopsError};
use landfall::sops::file::format::Format;
use landfall::sops::proof::identities::Identities;
use landfall::sops::proof::{self, Need, ProofError};

/// Other hosts of the rules, whom files that were made for the operator alone let in too.
fn granted() -> Grants {
    Grants::of([OTHER_HOST])
}

const OTHER_HOST: &str = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";

struct Repo {
    dir: tempfile::TempDir,
    sops: PathBuf,
    operator: Identity,
    host: HostKeyPair,
}

impl Repo {
    /// A repo with `.sops.yaml` (OPERATOR stands for the operator's recipient) and encrypted files.
    fn new(config: &str, files: &[&str]) -> Option<Self> {
        let repo = Self {
            dir: tempfile::tempdir().unwrap(),
            sops: sops()?,
            operator: Identity::generate(),
            host: HostKeyPair::generate("root@new").unwrap(),
        };
        repo.git(&["init", "-q"]);
        repo.write(".sops.yaml", &config.replace("OPERATOR", repo.operator.recipient().as_str()));
        for file in files {
            repo.encrypt(file);
        }
        repo.commit();
        Some(repo)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(self.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@t"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "state"]);
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn encrypt(&self, name: &str) {
        self.write(name, "users:\n  me: secret\nother: 1\n");
        let output = Command::new(&self.sops)
            .args(["--config", "/dev/null", "encrypt", "--in-place", "--age"])
            .arg(self.operator.recipient().as_str())
            .arg(self.path().join(name))
            .env_clear()
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn identities(&self) -> Identities {
        Identities::only(self.operator.clone())
    }

    fn add(&self, files: &[&str]) -> Result<Change, SopsError> {
        self.add_with(files, &EditSettings::default())
    }

    fn add_with(&self, files: &[&str], settings: &EditSettings) -> Result<Change, SopsError> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let recipient = self.host.recipient().unwrap();
        change::plan_add_host(
            self.path(),
            Path::new(".sops.yaml"),
            "new",
            &recipient,
            &files,
            settings,
            &self.identities(),
        )
    }

    fn needs(&self, files: &[&str]) -> Vec<Need> {
        let need = |file: &&str| Need {
            name: "me".into(),
            file: self.path().join(file),
            format: Format::of_path(Path::new(file)),
            key: vec!["users".into(), "me".into()],
        };
        files.iter().map(need).collect()
    }

    fn prove(&self, files: &[&str]) -> Result<Vec<proof::Proof>, ProofError> {
        proof::prove(&self.host.identity().unwrap(), &self.needs(files))
    }
}

const CONFIG: &str = "# keep\nkeys:\n  - &me OPERATOR\n  - &host_old age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp\ncreation_rules:\n  - path_regex: secrets/shared\\.yaml$\n    key_groups:\n      - age:\n          - *me\n          - *host_old\n  - path_regex: secrets/mine\\.yaml$\n    key_groups:\n      - age:\n          - *me\n  - path_regex: .*\n    key_groups:\n      - age:\n          - *me\n";

#[test]
fn a_new_host_opens_what_it_needs_and_nothing_else() {
    let Some(repo) = Repo::new(
        CONFIG,
        &["secrets/shared.yaml", "secrets/mine.yaml", "hosts/new/own.yaml", "hosts/other/own.yaml"],
    ) else {
        return;
    };
    let needed = ["secrets/shared.yaml", "hosts/new/own.yaml"];
    let before = repo.read(".sops.yaml");
    let mine = repo.read("secrets/mine.yaml");
    let change = repo.add(&needed).unwrap();
    assert_eq!(repo.read(".sops.yaml"), before, "a plan must not write");
    assert!(change.diff.contains("+  - &host_new age1"), "{}", change.diff);
    assert!(change.diff.contains("+  - path_regex: ^hosts/new/own\\.yaml$"), "{}", change.diff);
    assert_eq!(change.files().count(), 2);
    assert!(repo.prove(&needed).is_err());

    change::commit(&change, &granted()).unwrap();
    let proofs = repo.prove(&needed).unwrap();
    assert!(proofs.len() == 2 && proofs.iter().all(|proof| proof.native && proof.by_sops));
    assert_eq!(repo.read("secrets/mine.yaml"), mine);
    assert!(matches!(repo.prove(&["hosts/other/own.yaml"]), Err(ProofError::File { .. })));
    // The catch-all did not move, and the new rule stands before it.
    let config = repo.read(".sops.yaml");
    assert!(config.find("^hosts/new").unwrap() < config.find("path_regex: .*").unwrap());
    repo.commit();
    assert!(repo.add(&needed).unwrap().is_empty(), "the second run must have nothing to do");

    let settings = EditSettings::default();
    let removal = change::plan_remove_host(
        repo.path(),
        Path::new(".sops.yaml"),
        "new",
        &settings,
        &repo.identities(),
    )
    .unwrap();
    change::commit(&removal, &granted()).unwrap();
    let shut_out: Vec<_> = needed.iter().map(|file| repo.path().join(file)).collect();
    proof::prove_shut_out(&repo.host.identity().unwrap(), &shut_out).unwrap();
    assert!(!repo.read(".sops.yaml").contains("host_new"));
    let open = proof::prove(&repo.operator, &repo.needs(&needed)).unwrap();
    assert_eq!(open.len(), 2);
}

#[test]
fn a_reinstalled_host_gets_its_new_key_and_the_old_one_is_out() {
    let Some(repo) = Repo::new(CONFIG, &["secrets/shared.yaml"]) else { return };
    change::commit(&repo.add(&["secrets/shared.yaml"]).unwrap(), &granted()).unwrap();
    repo.commit();
    let second = HostKeyPair::generate("root@new").unwrap();
    let change = change::plan_add_host(
        repo.path(),
        Path::new(".sops.yaml"),
        "new",
        &second.recipient().unwrap(),
        &["secrets/shared.yaml".into()],
        &EditSettings::default(),
        &repo.identities(),
    )
    .unwrap();
    assert_eq!(change.old_recipient, Some(repo.host.recipient().unwrap().to_string()));
    change::commit(&change, &granted()).unwrap();
    let files = repo.needs(&["secrets/shared.yaml"]);
    proof::prove(&second.identity().unwrap(), &files).unwrap();
    proof::prove_shut_out(&repo.host.identity().unwrap(), &[files[0].file.clone()]).unwrap();
}

#[test]
fn a_run_that_ended_between_config_and_files_is_completed() {
    let Some(repo) = Repo::new(CONFIG, &["secrets/shared.yaml"]) else { return };
    let change = repo.add(&["secrets/shared.yaml"]).unwrap();
    std::fs::write(repo.path().join(".sops.yaml"), &change.changes[0].after).unwrap();
    repo.commit();
    let again = repo.add(&["secrets/shared.yaml"]).unwrap();
    assert_eq!(again.changes.len(), 1);
    change::commit(&again, &granted()).unwrap();
    repo.prove(&["secrets/shared.yaml"]).unwrap();
}

#[test]
fn what_cannot_be_done_is_found_before_anything_is_written() {
    let Some(repo) = Repo::new(CONFIG, &["secrets/shared.yaml"]) else { return };
    let before = repo.read(".sops.yaml");
    let needed = ["secrets/shared.yaml"];

    let stranger = Identities::only(Identity::generate());
    let recipient = repo.host.recipient().unwrap();
    let error = change::plan_add_host(
        repo.path(),
        Path::new(".sops.yaml"),
        "new",
        &recipient,
        &["secrets/shared.yaml".into()],
        &EditSettings::default(),
        &stranger,
    )
    .unwrap_err();
    assert!(error.to_string().contains("no identity opens it"), "{error}");
    assert!(error.hint().contains("Searched"), "{}", error.hint());

    assert!(matches!(repo.add(&["secrets/none.yaml"]), Err(SopsError::Missing(_))));

    let good = repo.read("secrets/shared.yaml");
    repo.write("secrets/shared.yaml", &good.replacen("users:", "zusers:", 1));
    let allow = EditSettings { allow_dirty: true, ..EditSettings::default() };
    let error = repo.add_with(&needed, &allow).unwrap_err();
    assert!(error.to_string().contains("tampered"), "{error}");
    repo.write("secrets/shared.yaml", &format!("{good}\n"));
    let error = repo.add(&needed).unwrap_err();
    assert!(
        error.to_string().contains("uncommitted") && error.hint().contains("--allow-dirty"),
        "{error}"
    );
    repo.write("secrets/shared.yaml", &good);

    let change = repo.add(&needed).unwrap();
    repo.write(".sops.yaml", &format!("{before}# somebody else\n"));
    assert!(change::commit(&change, &granted()).unwrap_err().to_string().contains("has changed"));
    assert_eq!(repo.read("secrets/shared.yaml"), good);
}

#[test]
fn links_modes_and_other_layouts_stay() {
    let Some(repo) = Repo::new(CONFIG, &["real/shared.yaml"]) else { return };
    std::fs::create_dir_all(repo.path().join("secrets")).unwrap();
    std::os::unix::fs::symlink("../real/shared.yaml", repo.path().join("secrets/shared.yaml"))
        .unwrap();
    let real = repo.path().join("real/shared.yaml");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    repo.commit();
    change::commit(&repo.add(&["secrets/shared.yaml"]).unwrap(), &granted()).unwrap();
    assert!(repo.path().join("secrets/shared.yaml").is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    repo.prove(&["secrets/shared.yaml"]).unwrap();
}

#[test]
fn a_file_without_a_rule_gets_one_with_its_own_readers() {
    let config = "creation_rules:\n  - path_regex: ^other\\.yaml$\n    age: OPERATOR\n";
    let Some(repo) = Repo::new(config, &["lonely.yaml"]) else { return };
    let change = repo.add(&["lonely.yaml"]).unwrap();
    assert!(change.diff.contains("+  - path_regex: ^lonely\\.yaml$"), "{}", change.diff);
    change::commit(&change, &granted()).unwrap();
    repo.prove(&["lonely.yaml"]).unwrap();
    proof::prove(&repo.operator, &repo.needs(&["lonely.yaml"])).unwrap();
}

#[test]
fn a_rule_for_files_to_come_names_people_and_no_other_host() {
    let other = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";
    let colleague = "age1v8zjc47jmlqwefyu66s0d4ke98qr4vnuj3cpvs4z9npfdw833dxqwjrhzv";
    let settings =
        EditSettings { rules: vec!["^sops/new\\.yaml$".into()], ..EditSettings::default() };
    for keys in [
        format!("  - &user_me OPERATOR\n  - &user_you {colleague}\n  - &guppy {other}\n"),
        format!(
            "  - &users:\n    - &user_me OPERATOR\n    - &user_you {colleague}\n  - &hosts:\n    - &guppy {other}\n"
        ),
    ] {
        let rule = "creation_rules:\n  - path_regex: ^sops/guppy\\.yaml$\n    key_groups:\n      - age:\n          - *user_me\n          - *user_you\n          - *guppy\n";
        let Some(repo) = Repo::new(&format!("keys:\n{keys}{rule}"), &[]) else { return };
        let change = repo.add_with(&[], &settings).unwrap();
        let added: Vec<&str> =
            change.diff.lines().filter(|line| line.starts_with("+          - ")).collect();
        assert_eq!(
            added,
            ["+          - *user_me", "+          - *user_you", "+          - *new"],
            "{}",
            change.diff
        );
    }
    // Nothing says who is what: only the one who asks.
    let bare = format!(
        "creation_rules:\n  - path_regex: ^sops/guppy\\.yaml$\n    age: OPERATOR,{colleague},{other}\n"
    );
    let Some(repo) = Repo::new(&bare, &[]) else { return };
    let change = repo.add_with(&[], &settings).unwrap();
    assert!(
        !change.diff.lines().any(|line| line.starts_with('+') && line.contains(other)),
        "{}",
        change.diff
    );
}

#[test]
fn the_config_may_have_another_name() {
    let Some(repo) = Repo::new(CONFIG, &["secrets/shared.yaml"]) else { return };
    std::fs::rename(repo.path().join(".sops.yaml"), repo.path().join("rules.yaml")).unwrap();
    repo.commit();
    let rules = Path::new("rules.yaml");
    let (recipient, settings) = (repo.host.recipient().unwrap(), EditSettings::default());
    let files = [PathBuf::from("secrets/shared.yaml")];
    let change = change::plan_add_host(
        repo.path(),
        rules,
        "new",
        &recipient,
        &files,
        &settings,
        &repo.identities(),
    );
    let change = change.unwrap();
    assert_eq!(change.files().count(), 1);
    change::commit(&change, &granted()).unwrap();
    repo.commit();
    let change = change::plan_remove_host(repo.path(), rules, "new", &settings, &repo.identities());
    change::commit(&change.unwrap(), &granted()).unwrap();
}

#[test]
fn a_repo_behind_a_link_is_the_same_repo() {
    let Some(repo) = Repo::new(CONFIG, &["secrets/shared.yaml"]) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(repo.path(), &link).unwrap();
    let recipient = repo.host.recipient().unwrap();
    for (dir, config, file) in [
        (link.clone(), link.join(".sops.yaml"), link.join("secrets/shared.yaml")),
        (link.clone(), PathBuf::from(".sops.yaml"), repo.path().join("secrets/shared.yaml")),
        (repo.path().to_owned(), PathBuf::from(".sops.yaml"), link.join("secrets/shared.yaml")),
    ] {
        let change = change::plan_add_host(
            &dir,
            &config,
            "new",
            &recipient,
            &[file],
            &EditSettings::default(),
            &repo.identities(),
        );
        let change = change.unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        assert_eq!(change.changes.len(), 2);
        change::commit(&change, &granted()).unwrap();
        repo.prove(&["secrets/shared.yaml"]).unwrap();
        repo.git(&["checkout", "-q", "."]);
    }
}

#[test]
fn a_file_behind_a_linked_folder_is_reached() {
    let Some(repo) = Repo::new(CONFIG, &["real/shared.yaml"]) else { return };
    std::os::unix::fs::symlink("real", repo.path().join("secrets")).unwrap();
    repo.commit();
    change::commit(&repo.add(&["secrets/shared.yaml"]).unwrap(), &granted()).unwrap();
    repo.prove(&["secrets/shared.yaml"]).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_to_is_found_before() {
    let Some(repo) = Repo::new(CONFIG, &["secrets/shared.yaml"]) else { return };
    let folder = repo.path().join("secrets");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(folder.join("probe"), "").is_ok() {
        skipped("root may write into read-only folders");
        return;
    }
    let error = repo.add(&["secrets/shared.yaml"]).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_renamed_host_takes_its_rules_and_files_along() {
    let config = "keys:\n  - &me OPERATOR\n  - &host_old age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp\ncreation_rules:\n  - path_regex: hosts/old/.*\n    key_groups:\n      - age:\n          - *me\n          - *host_old\n  - path_regex: .*\n    age: OPERATOR\n";
    let Some(repo) = Repo::new(config, &["hosts/old/a.yaml", "notes/old.yaml"]) else { return };
    let settings = EditSettings::default();
    let rename = || {
        change::plan_rename_host(repo.path(), Path::new(".sops.yaml"), "old", "young", &settings)
    };
    let change = rename().unwrap();
    assert_eq!(change.renames.len(), 1, "{:?}", change.renames);
    // A run that ended after the config was written is completed.
    std::fs::write(repo.path().join(".sops.yaml"), &change.changes[0].after).unwrap();
    repo.commit();
    let again = rename().unwrap();
    assert!(again.changes.is_empty() && again.renames == change.renames);
    change::commit(&again, &granted()).unwrap();
    assert!(repo.path().join("hosts/young/a.yaml").is_file());
    assert!(
        !repo.path().join("hosts/old").exists() && repo.path().join("notes/old.yaml").is_file()
    );
    assert!(
        repo.read(".sops.yaml").contains("&host_young")
            && repo.read(".sops.yaml").contains("hosts/young/.*")
    );
    repo.commit();
    assert!(rename().unwrap().is_empty());
}

#[test]
fn several_key_groups_go_through_sops() {
    let second = Identity::generate();
    let config = format!(
        "creation_rules:\n  - path_regex: s\\.yaml$\n    key_groups:\n      - age:\n          - OPERATOR # me\n      - age:\n          - {} # spare\n",
        second.recipient()
    );
    let Some(repo) = Repo::new(&config, &["s.yaml"]) else { return };
    let change = repo.add(&["s.yaml"]).unwrap();
    change::commit(&change, &Grants::of([second.recipient().to_string()])).unwrap();
    let proofs = repo.prove(&["s.yaml"]).unwrap();
    assert!(proofs[0].by_sops && !proofs[0].native, "{proofs:?}");
}
