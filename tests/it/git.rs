//! Repositories, commits and pushes with the real git and real bare repositories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::git::{Forge, git, identify};
use crate::common::sshd::{Sshd, user_name};
use landfall::error::{Advice, Exit};
use landfall::git::{AheadBehind, GitError, Repo, Standing, clone};

#[test]
fn a_repository_tells_where_it_stands() {
    let forge = Forge::new();
    let repo = &forge.repo;
    assert_eq!(repo.branch().unwrap().as_deref(), Some("main"));
    assert_eq!(repo.remote().unwrap().as_deref(), Some("origin"));
    let upstream = repo.upstream().unwrap().unwrap();
    assert_eq!((&*upstream.remote, &*upstream.branch), ("origin", "main"));
    assert_eq!(repo.remote_url("origin").unwrap(), forge.bare.to_str().unwrap());
    assert_eq!(repo.head().unwrap(), git(forge.work(), &["rev-parse", "HEAD"]));
    assert_eq!(repo.standing("HEAD", "@{upstream}").unwrap(), Standing::Even);
    assert!(repo.committer().unwrap().starts_with("A. Tester <tester@example.org>"));

    git(forge.work(), &["checkout", "-q", "--detach"]);
    assert_eq!(repo.branch().unwrap(), None);
    assert_eq!(repo.upstream().unwrap(), None);

    let error = Repo::open(forge.dir.path()).unwrap_err();
    assert!(matches!(error, GitError::NoRepository { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Usage);
    assert!(Repo::open(Path::new("/no/such/folder")).is_err());
}

#[test]
fn a_folder_inside_is_the_same_repository() {
    let forge = Forge::new();
    let below = forge.work().join("secrets");
    fs::create_dir(&below).unwrap();
    assert_eq!(Repo::open(&below).unwrap(), forge.repo);
    fs::write(below.join("guppy.yaml"), "x: 1\n").unwrap();
    // Paths may be given absolute or from the root.
    forge.repo.commit_paths(&[&below.join("guppy.yaml")], "secrets").unwrap();
    assert!(forge.repo.is_tracked(Path::new("secrets/guppy.yaml")).unwrap());
    let outside = forge.repo.commit_paths(&[Path::new("/etc/passwd")], "x").unwrap_err();
    assert!(matches!(outside, GitError::Outside { .. }), "{outside:?}");
}

#[test]
fn everything_changed_is_listed_and_ignored_files_are_not() {
    let forge = Forge::new();
    let work = forge.work();
    assert_eq!(forge.repo.dirty().unwrap(), Vec::<PathBuf>::new());
    fs::write(work.join(".gitignore"), "*.log\n").unwrap();
    fs::write(work.join("noise.log"), "").unwrap();
    fs::write(work.join("odd *\nname"), "").unwrap();
    fs::create_dir(work.join("new")).unwrap();
    fs::write(work.join("new/deep"), "").unwrap();
    git(work, &["mv", "file", "renamed"]);
    let wanted = [".gitignore", "file", "new/deep", "odd *\nname", "renamed"].map(PathBuf::from);
    assert_eq!(forge.repo.dirty().unwrap(), wanted);
    let files = [".gitignore", "new/deep", "odd *\nname", "renamed"].map(PathBuf::from);
    assert_eq!(forge.repo.files().unwrap(), files);
    assert_eq!(forge.repo.tracked().unwrap(), [PathBuf::from("renamed")]);
}

#[test]
fn a_commit_takes_the_named_paths_and_nothing_else() {
    let forge = Forge::new();
    let work = forge.work();
    fs::write(work.join("file"), "two\n").unwrap();
    fs::write(work.join("staged"), "by somebody\n").unwrap();
    git(work, &["add", "staged"]);
    fs::write(work.join("new *"), "ours\n").unwrap();
    fs::write(work.join("new too"), "not ours\n").unwrap();

    let rev = forge.repo.commit_paths(&[Path::new("new *")], "one file\n\nwith a body").unwrap();
    assert_eq!(rev, forge.repo.head().unwrap());
    assert_eq!(git(work, &["show", "--format=%s", "--name-only", &rev]), "one file\n\nnew *");
    let left = ["file", "new too", "staged"].map(PathBuf::from);
    assert_eq!(forge.repo.dirty().unwrap(), left);
    assert_eq!(git(work, &["diff", "--cached", "--name-only"]), "staged");

    // A removal is a change too.
    fs::remove_file(work.join("file")).unwrap();
    forge.repo.commit_paths(&[Path::new("file")], "gone").unwrap();
    assert!(!forge.repo.is_tracked(Path::new("file")).unwrap());

    let error = forge.repo.commit_paths(&[Path::new("new *")], "again").unwrap_err();
    assert!(matches!(error, GitError::NothingToCommit { .. }), "{error:?}");
}

#[test]
fn a_new_file_becomes_visible_to_flakes_without_being_staged() {
    let forge = Forge::new();
    let path = Path::new("hardware.nix");
    fs::write(forge.work().join(path), "{}\n").unwrap();
    forge.repo.intent_to_add(&[path]).unwrap();
    assert!(forge.repo.is_tracked(path).unwrap());
    assert_eq!(git(forge.work(), &["diff", "--cached", "--name-only"]), "");
    forge.repo.commit_paths(&[path], "hardware").unwrap();
    assert_eq!(forge.repo.show("HEAD", path).unwrap().unwrap(), b"{}\n");
    assert_eq!(forge.repo.show("HEAD~1", path).unwrap(), None);
    assert_eq!(forge.repo.dirty().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn hooks_of_the_user_run_and_may_refuse() {
    let forge = Forge::new();
    let hook = forge.work().join(".git/hooks/pre-commit");
    fs::write(&hook, "#!/bin/sh\necho 'not formatted' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(forge.work().join("file"), "two\n").unwrap();
    let error = forge.repo.commit_paths(&[Path::new("file")], "x").unwrap_err();
    assert!(
        matches!(&error, GitError::Commit { why } if why.contains("not formatted")),
        "{error:?}"
    );
}

#[test]
fn a_push_arrives_and_is_seen_there() {
    let forge = Forge::new();
    fs::write(forge.work().join("file"), "two\n").unwrap();
    let rev = forge.repo.commit_paths(&[Path::new("file")], "two").unwrap();
    assert_eq!(forge.repo.standing("HEAD", "@{upstream}").unwrap(), Standing::Ahead);
    assert!(!forge.repo.remote_has("origin", "main", &rev).unwrap());
    forge.repo.can_push("HEAD", "origin", "main").unwrap();
    assert!(!forge.repo.remote_has("origin", "main", &rev).unwrap());
    forge.repo.push("origin", "main").unwrap();
    assert!(forge.repo.remote_has("origin", "main", &rev).unwrap());
    forge.repo.push("origin", "other").unwrap();
    forge.somebody_pushes();
    assert!(forge.repo.remote_has("origin", "main", &rev).unwrap(), "an ancestor counts");
    assert!(!forge.repo.remote_has("origin", "missing", &rev).unwrap());
}

#[test]
fn a_remote_that_is_ahead_is_told_by_name() {
    let forge = Forge::new();
    forge.somebody_pushes();
    fs::write(forge.work().join("file"), "two\n").unwrap();
    forge.repo.commit_paths(&[Path::new("file")], "two").unwrap();
    for error in [
        forge.repo.can_push("HEAD", "origin", "main").unwrap_err(),
        forge.repo.push("origin", "main").unwrap_err(),
    ] {
        assert!(matches!(error, GitError::Behind { .. }), "{error:?}");
        assert!(error.hint().contains("git pull --rebase origin main"));
    }
    let tip = forge.repo.remote_tip("origin", "main").unwrap().unwrap();
    let apart = Standing::Diverged(AheadBehind { ahead: 1, behind: 1 });
    assert_eq!(forge.repo.standing("HEAD", &tip).unwrap(), apart);
    assert_eq!(forge.repo.standing("HEAD~1", &tip).unwrap(), Standing::Behind(1));
    assert_eq!(forge.repo.changed("HEAD~1", &tip).unwrap(), [PathBuf::from("theirs")]);
    assert_eq!(forge.repo.remote_tip("origin", "missing").unwrap(), None);
    assert_eq!(forge.repo.remote_default("origin").unwrap().as_deref(), Some("main"));
}

#[test]
fn a_hook_of_the_remote_is_quoted() {
    let forge = Forge::new();
    forge.decline("main is frozen");
    fs::write(forge.work().join("file"), "two\n").unwrap();
    forge.repo.commit_paths(&[Path::new("file")], "two").unwrap();
    forge.repo.can_push("HEAD", "origin", "main").unwrap();
    let error = forge.repo.push("origin", "main").unwrap_err();
    let GitError::Declined { message, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("main is frozen"), "{message}");
    assert_eq!(error.exit(), Exit::Failed);
}

#[test]
fn a_missing_remote_is_told_apart() {
    let forge = Forge::new();
    git(forge.work(), &["remote", "add", "gone", "/no/such/repo.git"]);
    let error = forge.repo.remote_tip("gone", "main").unwrap_err();
    assert!(matches!(error, GitError::NoSuchRepository { .. }), "{error:?}");
}

/// Lets git use the test's own keys and known_hosts, in that repository alone.
fn use_ssh(dir: &Path, server: &Sshd, known_hosts: &Path, key: &Path) {
    let ssh = format!(
        "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={}",
        key.display(),
        known_hosts.display()
    );
    git(dir, &["config", "core.sshCommand", &ssh]);
    assert!(server.port > 0);
}

#[test]
fn over_ssh_a_refused_login_and_an_unknown_host_are_told_apart() {
    let forge = Forge::new();
    let server = Sshd::start();
    let url = format!("ssh://{}@127.0.0.1:{}{}", user_name(), server.port, forge.bare.display());
    let known = server.dir.path().join("known");
    let line = server.host_key.known_hosts_line(&format!("[127.0.0.1]:{}", server.port));
    fs::write(&known, line + "\n").unwrap();
    git(forge.work(), &["remote", "add", "forge", &url]);

    use_ssh(forge.work(), &server, &known, &server.user_key);
    fs::write(forge.work().join("file"), "two\n").unwrap();
    let rev = forge.repo.commit_paths(&[Path::new("file")], "two").unwrap();
    forge.repo.push("forge", "main").unwrap();
    assert!(forge.repo.remote_has("forge", "main", &rev).unwrap());

    let stranger = crate::common::sshd::keygen(server.dir.path(), "stranger", "ed25519").private;
    use_ssh(forge.work(), &server, &known, &stranger);
    let error = forge.repo.can_push("HEAD", "forge", "main").unwrap_err();
    assert!(matches!(error, GitError::Auth { .. }), "{error:?}");

    let nothing = server.dir.path().join("nothing");
    use_ssh(forge.work(), &server, &nothing, &server.user_key);
    let error = forge.repo.push("forge", "main").unwrap_err();
    assert!(matches!(error, GitError::HostKey { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Person);

    drop(server);
    let error = forge.repo.remote_tip("forge", "main").unwrap_err();
    assert!(matches!(error, GitError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_clone_of_a_remote_or_of_a_bundle_is_the_same_commit() {
    let forge = Forge::new();
    let head = forge.repo.head().unwrap();
    let copy = clone(forge.bare.to_str().unwrap(), &forge.dir.path().join("copy")).unwrap();
    assert_eq!(copy.head().unwrap(), head);
    let bundle = forge.dir.path().join("repo.bundle");
    forge.repo.bundle(&bundle, &["HEAD", "main"]).unwrap();
    let copy = clone(bundle.to_str().unwrap(), &forge.dir.path().join("copy two")).unwrap();
    assert_eq!(copy.head().unwrap(), head);
    let error = clone("/no/such/repo", &forge.dir.path().join("nothing")).unwrap_err();
    assert!(matches!(error, GitError::NoSuchRepository { .. }), "{error:?}");
}

#[test]
fn a_commit_can_be_taken_back() {
    let forge = Forge::new();
    fs::write(forge.work().join("file"), "two\n").unwrap();
    let rev = forge.repo.commit_paths(&[Path::new("file")], "two").unwrap();
    let back = forge.repo.revert(&rev).unwrap();
    assert_ne!(back, rev);
    assert_eq!(fs::read_to_string(forge.work().join("file")).unwrap(), "one\n");
}

#[test]
fn a_worktree_holds_the_commit_and_leaves_nothing() {
    let forge = Forge::new();
    fs::write(forge.work().join("file"), "dirty\n").unwrap();
    let base = forge.dir.path().join("private");
    fs::create_dir(&base).unwrap();
    let worktree = forge.repo.worktree("HEAD", &base).unwrap();
    let path = worktree.path().to_owned();
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "one\n");
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    drop(worktree);
    let trees = || git(forge.work(), &["worktree", "list"]).lines().count();
    assert_eq!((trees(), fs::read_dir(&base).unwrap().count()), (1, 0));

    // One that another repository's work needs stays; what a killed process left goes.
    let other = Forge::new();
    let left = base.join("tree-1-left/work");
    git(other.work(), &["worktree", "add", "-q", "--detach", left.to_str().unwrap()]);
    let outer = forge.repo.worktree("HEAD", &base).unwrap();
    let inner = forge.repo.worktree("HEAD", &base).unwrap();
    assert_eq!(Repo::open(outer.path()).unwrap().dirty().unwrap(), Vec::<PathBuf>::new());
    assert_eq!((trees(), left.exists()), (3, false));
    assert_eq!(git(other.work(), &["worktree", "list"]).lines().count(), 1);
    drop((outer, inner));
    assert_eq!((trees(), fs::read_dir(&base).unwrap().count()), (1, 0));
}

#[test]
fn a_checkout_moves_forward_and_loses_nothing() {
    let forge = Forge::new();
    forge.somebody_pushes();
    let tip = forge.repo.remote_tip("origin", "main").unwrap().unwrap();
    fs::write(forge.work().join("theirs"), "mine, ignored\n").unwrap();
    fs::write(forge.work().join(".git/info/exclude"), "theirs\n").unwrap();
    assert!(forge.repo.fast_forward(&tip).is_err());
    assert_eq!(fs::read_to_string(forge.work().join("theirs")).unwrap(), "mine, ignored\n");
    fs::remove_file(forge.work().join("theirs")).unwrap();
    forge.repo.fast_forward(&tip).unwrap();
    assert_eq!(forge.repo.head().unwrap(), tip);
    assert_eq!(forge.repo.branch().unwrap().as_deref(), Some("main"));
}

#[test]
fn nobody_who_commits_is_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main", "."]);
    identify(dir.path());
    git(dir.path(), &["config", "user.useConfigOnly", "true"]);
    git(dir.path(), &["config", "user.email", ""]);
    git(dir.path(), &["config", "user.name", ""]);
    let repo = Repo::open(dir.path()).unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let error = repo.commit_paths(&[Path::new("file")], "x").unwrap_err();
    assert!(matches!(error, GitError::Identity { .. }), "{error:?}");
}
