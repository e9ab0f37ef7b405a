//! Repositories that others push to, remotes with a token in their address, and bad luck
//! where git works.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::git::{Forge, git, identify};
use crate::common::journey::run;
use base64::Engine;
use landfall::error::{Advice, StepError};
use landfall::git::{self as landfall_git, GitError, Repo};

const USER: &str = "forge-canary-user";
const TOKEN: &str = "forge-canary-t/ken";

/// A forge that lets nobody in without the token, and looks at the arguments of all
/// processes whenever it is asked for something.
struct Guarded {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Guarded {
    fn start(root: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shown = arguments().into_iter().filter(|line| line.contains("forge-canary-"));
                noted.lock().unwrap().extend(shown);
                serve(stream.unwrap(), &root);
            }
        });
        Self { port, seen }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{USER}:{}@127.0.0.1:{}/{name}", TOKEN.replace('/', "%2F"), self.port)
    }
}

fn arguments() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let argv = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    argv.map(|argv| String::from_utf8_lossy(&argv).replace('\0', " ")).collect()
}

/// Answers one request by the file that it names, to who knows the token.
fn serve(mut stream: TcpStream, root: &Path) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{TOKEN}"));
    let known = head.iter().any(|line| *line == format!("Authorization: Basic {login}"));
    let path = head.first().and_then(|line| line.split([' ', '?']).nth(1)).unwrap_or("/");
    let file = fs::read(root.join(path.trim_start_matches('/')));
    let (status, body) = match (known, file) {
        (false, _) => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"forge\"", Vec::new()),
        (true, Ok(file)) => ("200 OK", file),
        (true, Err(_)) => ("404 Not Found", Vec::new()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

#[test]
fn a_token_in_a_remotes_address_stays_with_git() {
    let forge = Forge::new();
    git(&forge.bare, &["update-server-info"]);
    let guarded = Guarded::start(forge.dir.path().to_owned());
    let url = guarded.url("bare.git");
    git(forge.work(), &["config", "remote.web.url", &url]);
    git(forge.work(), &["config", "remote.lost.url", &guarded.url("no.git")]);

    let told = forge.repo.remote_url("web").unwrap();
    assert_eq!(told, format!("http://127.0.0.1:{}/bare.git", guarded.port));
    let head = forge.repo.head().unwrap();
    assert_eq!(forge.repo.remote_tip("web", "main").unwrap().as_ref(), Some(&head));
    let to = forge.dir.path().join("clone");
    assert_eq!(forge.repo.clone_remote("web", &to).unwrap().head().unwrap(), head);
    assert!(!fs::read_to_string(to.join(".git/config")).unwrap().contains("forge-canary-"));
    let by_url = landfall_git::clone(&url, &forge.dir.path().join("by-url")).unwrap();
    assert_eq!(by_url.head().unwrap(), head);

    // A push needs more than this forge has: what is said of it has no token either.
    fs::write(forge.work().join("file"), "two\n").unwrap();
    forge.repo.commit_paths(&[Path::new("file")], "two").unwrap();
    let errors = [
        forge.repo.remote_tip("lost", "main").unwrap_err(),
        forge.repo.push("web", "main").unwrap_err(),
        landfall_git::clone(&guarded.url("no.git"), &forge.dir.path().join("none")).unwrap_err(),
    ];
    for error in errors {
        let error = StepError::from(error);
        assert!(!format!("{error:?}").contains("forge-canary-"), "{error:?}");
    }
    assert_eq!(*guarded.seen.lock().unwrap(), [] as [String; 0], "a program was shown the token");
}

fn script(path: &Path, body: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const HOOKS: [&str; 8] = [
    "pre-commit",
    "commit-msg",
    "prepare-commit-msg",
    "post-commit",
    "post-checkout",
    "pre-push",
    "post-merge",
    "post-index-change",
];

#[test]
fn no_hook_of_an_unreviewed_commit_runs() {
    let forge = Forge::new();
    let marker = forge.dir.path().join("ran");
    let note = |who: &str| format!("echo {who} $(basename $0) >> {}", marker.display());
    script(&forge.work().join("hooks/pre-commit"), &note("own"));
    git(forge.work(), &["add", "."]);
    git(forge.work(), &["commit", "-q", "-m", "Hooks that were reviewed"]);
    git(forge.work(), &["push", "-q"]);
    git(forge.work(), &["config", "core.hooksPath", "hooks"]);
    // A collaborator pushes others.
    let other = forge.dir.path().join("other");
    git(forge.dir.path(), &["clone", "-q", forge.bare.to_str().unwrap(), "other"]);
    identify(&other);
    for hook in HOOKS {
        script(&other.join("hooks").join(hook), &note("theirs"));
    }
    git(&other, &["add", "."]);
    git(&other, &["commit", "-q", "-m", "theirs"]);
    git(&other, &["push", "-q"]);

    let tip = forge.repo.remote_tip("origin", "main").unwrap().unwrap();
    let tree = forge.repo.worktree(&tip, forge.dir.path()).unwrap();
    assert!(tree.path().join("hooks/pre-push").exists());
    fs::write(tree.path().join("file"), "two\n").unwrap();
    let revision = tree.repo().commit_paths(&[Path::new("file")], "Edit").unwrap();
    tree.repo().push("origin", "main").unwrap();
    drop(tree);
    forge.repo.fast_forward(&revision).unwrap();
    assert_eq!(fs::read_to_string(&marker).unwrap(), "own pre-commit\n");
}

#[test]
fn nothing_that_a_repository_names_runs_where_landfall_only_reads() {
    let forge = Forge::new();
    let work = forge.work();
    let marker = forge.dir.path().join("ran");
    let evil = forge.dir.path().join("evil");
    script(&evil, &format!("echo \"$@\" >> {}; cat", marker.display()));
    fs::write(work.join(".gitattributes"), "* filter=evil diff=evil\n").unwrap();
    git(work, &["add", "."]);
    git(work, &["commit", "-q", "-m", "Attributes"]);
    let evil = evil.display().to_string();
    for (name, value) in [
        ("filter.evil.clean", "clean"),
        ("filter.evil.smudge", "smudge"),
        ("filter.evil.required", "true"),
        ("diff.evil.textconv", "textconv"),
        ("diff.evil.command", "command"),
        ("diff.external", "external"),
        ("core.fsmonitor", "fsmonitor"),
    ] {
        let value = if value == "true" { value.into() } else { format!("{evil} {value}") };
        git(work, &["config", name, &value]);
    }
    let head = forge.repo.head().unwrap();
    fs::write(work.join("file"), "two\n").unwrap();
    assert_eq!(forge.repo.dirty().unwrap(), [PathBuf::from("file")]);
    assert_eq!(forge.repo.changed("HEAD~1", "HEAD").unwrap(), [PathBuf::from(".gitattributes")]);
    let introduced = forge.repo.introduced("filter=evil", Path::new(".gitattributes")).unwrap();
    assert_eq!(introduced.as_ref(), Some(&head));
    assert_eq!(forge.repo.show("HEAD", Path::new("file")).unwrap().unwrap(), b"one\n");
    forge.repo.files().unwrap();
    forge.repo.tracked().unwrap();
    landfall::config::detect::tracked_files(work).unwrap();
    landfall::sops::change::repo::files_below(work, work).unwrap();
    let tree = forge.repo.worktree(&head, forge.dir.path()).unwrap();
    assert_eq!(fs::read(tree.path().join("file")).unwrap(), b"one\n");
    // What a filter would have encrypted is not committed without it.
    fs::write(tree.path().join("file"), "three\n").unwrap();
    let error = tree.repo().commit_paths(&[Path::new("file")], "x").unwrap_err();
    assert!(matches!(&error, GitError::Filtered { filter, .. } if filter == "evil"), "{error:?}");
    drop(tree);
    assert!(!marker.exists(), "{}", fs::read_to_string(&marker).unwrap());
}

#[test]
fn a_name_that_is_no_utf_8_is_a_name() {
    let forge = Forge::new();
    let name = Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::write(forge.work().join(name), "x\n").unwrap();
    assert_eq!(forge.repo.dirty().unwrap(), [name]);
    forge.repo.commit_paths(&[name], "odd").unwrap();
    assert_eq!(forge.repo.show("HEAD", name).unwrap().unwrap(), b"x\n");
    assert!(forge.repo.is_tracked(name).unwrap());
    let tracked = landfall::config::detect::tracked_files(forge.work()).unwrap();
    assert!(tracked.contains(&name.to_owned()), "{tracked:?}");
}

#[test]
fn a_lock_that_a_killed_git_left_is_named() {
    let forge = Forge::new();
    let lock = forge.work().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    fs::write(forge.work().join("file"), "two\n").unwrap();
    let error = forge.repo.commit_paths(&[Path::new("file")], "x").unwrap_err();
    assert!(matches!(&error, GitError::Locked { why } if why.contains("index.lock")), "{error:?}");
    assert!(error.hint().contains("remove the lock"), "{}", error.hint());
    // To look is possible all the same.
    assert_eq!(forge.repo.dirty().unwrap(), [PathBuf::from("file")]);
}

#[test]
fn a_signature_that_fails_and_a_hook_that_asks_are_told_apart() {
    let forge = Forge::new();
    git(forge.work(), &["config", "commit.gpgsign", "true"]);
    git(forge.work(), &["config", "gpg.format", "ssh"]);
    git(forge.work(), &["config", "user.signingKey", "/nonexistent/key"]);
    fs::write(forge.work().join("file"), "two\n").unwrap();
    let commit = || forge.repo.commit_paths(&[Path::new("file")], "x").unwrap_err();
    assert!(matches!(commit(), GitError::Signing { .. }), "{:?}", commit());
    git(forge.work(), &["config", "commit.gpgsign", "false"]);
    if fs::File::open("/dev/tty").is_ok() {
        return crate::common::skipped("this test has a terminal");
    }
    let ask = "printf 'Really? ' > /dev/tty && read answer < /dev/tty";
    script(&forge.work().join(".git/hooks/pre-commit"), ask);
    let error = commit();
    assert!(matches!(&error, GitError::WantsTerminal { .. }), "{error:?}");
}

/// A small file system, until it is dropped.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

#[test]
fn a_full_disk_is_called_so() {
    let forge = Forge::new();
    let small = forge.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&small);
    if run(&mut mount).code != Some(0) {
        return crate::common::skipped("a small file system cannot be mounted");
    }
    let small = Small(small);
    // A tree of it has no room, as that of a check on a full disk.
    let noise: Vec<u8> =
        (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(forge.work().join("large"), noise).unwrap();
    let head = forge.repo.commit_paths(&[Path::new("large")], "large").unwrap();
    let error = forge.repo.worktree(&head, &small.0).unwrap_err();
    assert!(matches!(&error, GitError::Full { .. }), "{error:?}");
    assert!(error.hint().contains("Make room"), "{}", error.hint());
    assert_eq!(git(forge.work(), &["worktree", "prune"]), "");
    let clone = Repo::open(forge.work()).unwrap();
    assert_eq!(clone.head().unwrap(), head);
}
