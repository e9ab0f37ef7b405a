//! A home with an identity and a secrets repository, for `landfall keys` and
//! `landfall secrets` as a person and a script run them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use landfall::secret::age::{HostKeyPair, Identity};
use landfall::sops::file::EncryptedFile;
use landfall::sops::file::format::Format;

use super::have;

/// The usual rules; `OPERATOR` stands for the operator's recipient.
pub const CONFIG: &str = "keys:\n  - &me OPERATOR\ncreation_rules:\n  - path_regex: ^shared\\.yaml$\n    key_groups:\n      - age:\n          - *me\n";
/// The usual file, before it is encrypted.
pub const SHARED: &str = "a: b\nusers:\n  me: canary-plaintext\n";

/// The path of a program in PATH.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(name));
    files.find(|file| file.is_file()).unwrap_or_else(|| name.into())
}

/// The real sops; none, and said so, where it is missing.
pub fn sops() -> Option<PathBuf> {
    have("sops").then(|| program("sops"))
}

/// A home, a git repository `secrets` in it, and a PATH whose programs note how they are called.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub operator: Identity,
    pub host: HostKeyPair,
}

pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Home {
    /// With [`CONFIG`] and [`SHARED`]; none where sops is missing.
    pub fn new() -> Option<Self> {
        Self::with(CONFIG, &[("shared.yaml", SHARED)])
    }

    /// With these rules, and these files encrypted by sops to the operator.
    pub fn with(config: &str, files: &[(&str, &str)]) -> Option<Self> {
        let home = Self::bare(config)?;
        for (file, plain) in files {
            home.encrypt(file, plain.as_bytes(), &[]);
        }
        home.git(&["init", "-q"]);
        home.commit();
        Some(home)
    }

    fn bare(config: &str) -> Option<Self> {
        if !have("sops") {
            return None;
        }
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
            operator: Identity::generate(),
            host: HostKeyPair::generate("root@new").unwrap(),
        };
        let keys = home.path(".config/sops/age");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("keys.txt"), home.operator.key_file().expose()).unwrap();
        std::fs::write(home.path("host.pub"), home.host.public_openssh().unwrap()).unwrap();
        std::fs::create_dir_all(home.path("bin")).unwrap();
        home.witness("sops");
        home.witness("git");
        std::fs::create_dir(home.path("secrets")).unwrap();
        home.write(".sops.yaml", &config.replace("OPERATOR", home.operator.recipient().as_str()));
        Some(home)
    }

    /// The same home once more, as it is now.
    pub fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = self.dir.path().join(".");
        let copied = Command::new("cp").arg("-a").arg(source).arg(dir.path()).status().unwrap();
        assert!(copied.success());
        let private = self.host.private_openssh().unwrap();
        let host = HostKeyPair::parse(private.expose_str().unwrap()).unwrap();
        Self { dir, operator: self.operator.clone(), host }
    }

    /// Everything that the program can see of its caller is kept for the search for keys.
    fn witness(&self, name: &str) {
        let script = format!(
            "#!/bin/sh\n{{ echo {name} \"$@\"; env; [ -z \"$SOPS_AGE_KEY_FILE\" ] || find \"$(dirname \"$SOPS_AGE_KEY_FILE\")\" -printf '%m %f\\n'; }} >> {}\nexec {} \"$@\"\n",
            self.path("witness").display(),
            program(name).display()
        );
        std::fs::write(self.path("bin").join(name), script).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path("bin").join(name), executable).unwrap();
    }

    /// What the programs that were called saw.
    pub fn witnessed(&self) -> String {
        std::fs::read_to_string(self.path("witness")).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The new host's recipient.
    pub fn recipient(&self) -> String {
        self.host.recipient().unwrap().to_string()
    }

    /// Encrypts `plain` to the operator, by sops, as a file of the repository.
    pub fn encrypt(&self, file: &str, plain: &[u8], more: &[&str]) {
        let path = self.path("secrets").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, plain).unwrap();
        let operator = self.operator.recipient().to_string();
        let output = Command::new(program("sops"))
            .args(["--config", "/dev/null", "encrypt", "--in-place", "--age", &operator])
            .args(more)
            .arg(&path)
            .env_clear()
            .env("HOME", self.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What sops decrypts with one identity and no other.
    pub fn decrypt(&self, file: &str, identity: &Identity) -> Result<String, String> {
        let key = self.path("only.txt");
        std::fs::write(&key, identity.text().expose()).unwrap();
        let output = Command::new(program("sops"))
            .args(["--config", "/dev/null", "decrypt"])
            .arg(self.path("secrets").join(file))
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("SOPS_AGE_KEY_FILE", key)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Whether landfall opens a file with one identity and no other, every value and MAC checked.
    pub fn opens(&self, file: &str, identity: &Identity) -> bool {
        let key: age::x25519::Identity = identity.text().expose_str().unwrap().parse().unwrap();
        let (text, format) = (self.read(file), Format::of_path(Path::new(file)));
        let file = EncryptedFile::parse(&text, format).unwrap();
        file.data_key(&[&key]).is_ok_and(|key| file.verify(&key).is_ok())
    }

    /// Opens a file with the new host's key alone, by sops.
    pub fn opened_by_host(&self, file: &str) -> Result<String, String> {
        self.decrypt(file, &self.host.identity().unwrap())
    }

    pub fn git(&self, args: &[&str]) -> String {
        let git = Command::new(program("git"))
            .arg("-C")
            .arg(self.path("secrets"))
            .args(["-c", "user.name=t", "-c", "user.email=t@t"])
            .args(args)
            .output()
            .unwrap();
        assert!(git.status.success(), "{args:?}: {}", String::from_utf8_lossy(&git.stderr));
        String::from_utf8_lossy(&git.stdout).into_owned()
    }

    /// Commits everything, even if it is nothing.
    pub fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "state"]);
    }

    /// A command in the repository with nothing of the tester's environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command
            .args(args)
            .current_dir(self.path("secrets"))
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display()))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.ran(&mut self.command(args))
    }

    /// Runs a command, and sees that it showed no secret.
    pub fn ran(&self, command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran { code: status.code(), out: text(&stdout), err: text(&stderr) };
        let canaries = [
            self.operator.text().expose_str().unwrap(),
            "canary-plaintext",
            "PRIVATE KEY-----",
            "AGE-SECRET-KEY-",
        ];
        for secret in canaries {
            assert!(
                !ran.out.contains(secret) && !ran.err.contains(secret),
                "{command:?} showed a secret"
            );
        }
        ran
    }

    /// Runs what must succeed; returns standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}\n{}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs what must be refused with this exit code and these words, and change no file.
    pub fn refused(&self, args: &[&str], code: i32, words: &[&str]) -> Ran {
        let before = self.contents();
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.err);
        for word in words {
            assert!(ran.err.contains(word), "{args:?}: no {word:?} in: {}", ran.err);
        }
        assert_eq!(self.contents(), before, "{args:?} changed files");
        ran
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("secrets").join(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("secrets").join(name), text).unwrap();
    }

    /// Every file of the repository with its content, but git's own.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        collect(&self.path("secrets"), &mut found);
        found.sort();
        found
    }

    /// Names of files that landfall made for itself, anywhere in the repository.
    pub fn left_overs(&self) -> Vec<PathBuf> {
        let mut left: Vec<PathBuf> = self.contents().into_iter().map(|(path, _)| path).collect();
        left.retain(|path| path.file_name().unwrap().to_string_lossy().contains("landfall"));
        left.extend(Some(self.path("secrets/.git/landfall-secrets")).filter(|note| note.exists()));
        left
    }
}

fn collect(dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            if path.file_name().unwrap() != ".git" {
                collect(&path, found);
            }
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
}
