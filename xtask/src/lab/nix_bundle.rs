//! A recent nix for machines whose distribution has none: Debian's newest nix with every
//! library it needs, in a folder of its own.
//!
//! Debian's older releases carry a nix that is too old, and installing the newest one
//! would replace libc. So the packages are fetched with a private apt root, unpacked, and
//! nix is given an interpreter and a search path inside its own folder. (A wrapper around
//! the dynamic loader would not do: nix starts itself through /proc/self/exe.)
//!
//! Invariant: nothing outside the cache folder is written, and the packages are kept, so
//! that a later build of the bundle needs no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, remove};
use crate::process::{output, quiet};

/// Raise it when the way the bundle is made changes.
const RECIPE: &str = "1";

/// Suites to take nix from, best first. The first moves every day and may be broken.
const SUITES: [&str; 2] = ["sid", "trixie"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names under which nix expects to be called.
const PROGRAMS: [&str; 10] = [
    "nix-build",
    "nix-channel",
    "nix-collect-garbage",
    "nix-copy-closure",
    "nix-daemon",
    "nix-env",
    "nix-hash",
    "nix-instantiate",
    "nix-shell",
    "nix-store",
];

/// Returns the folder with `bin/nix`.
pub(crate) fn prefix(cache: &Cache) -> PathBuf {
    cache.path("nix-bundle")
}

/// Says whether the bundle was made, and for this cache folder.
pub(crate) fn is_ready(cache: &Cache) -> bool {
    cache.is_current("nix-bundle", &made_of(cache))
}

/// Names what the bundle is made of. It holds absolute paths, so a moved cache folder needs a
/// new one.
fn made_of(cache: &Cache) -> String {
    format!("{RECIPE} {}", cache.root().display())
}

/// Builds the bundle unless it is there.
pub(crate) fn ensure(cache: &Cache) -> Result<()> {
    if is_ready(cache) {
        return Ok(());
    }
    let debs = downloaded(cache)?;
    let tree = cache.work_folder("nix-tree")?;
    for deb in &debs {
        quiet(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&tree))?;
    }
    assemble(&tree, &prefix(cache))?;
    remove(&tree)?;
    cache.record("nix-bundle", &made_of(cache))
}

/// Returns the packages of the first suite that gives a complete set, fetched before or now.
fn downloaded(cache: &Cache) -> Result<Vec<PathBuf>> {
    let mut failures = Vec::new();
    for suite in SUITES {
        let kept = cache.path("debs").join(suite);
        if kept.is_dir() {
            return debs_in(&kept);
        }
        match download(cache, suite, &kept) {
            Ok(()) => return debs_in(&kept),
            Err(error) => failures.push(format!("{suite}: {error:#}")),
        }
    }
    bail!(
        "no Debian suite gave a nix:\n{}\ncheck that apt reaches its mirror and run this again",
        failures.join("\n")
    )
}

/// Fetches nix and all it depends on with a private apt root, moving them to `kept` when
/// the set is complete.
fn download(cache: &Cache, suite: &str, kept: &Path) -> Result<()> {
    let root = cache.work_folder("apt")?;
    for dir in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::write(root.join("status"), "")?;
    let source = format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror()?);
    fs::write(root.join("sources.list"), source)?;
    quiet(private_apt(&root).arg("update"))?;
    quiet(private_apt(&root).args(["install", "--yes", "--download-only", "nix-bin"]))?;
    fs::create_dir_all(kept.parent().context("the cache folder has no parent")?)?;
    remove(&root.join("cache/archives/partial"))?;
    fs::rename(root.join("cache/archives"), kept)?;
    remove(&root)
}

/// Prepares an apt-get that keeps its lists, state and packages below `root` and sees no
/// installed package; the host's settings for how to reach a mirror stay in force.
fn private_apt(root: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let at = |below: &str| root.join(below).display().to_string();
    for option in [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=/dev/null".to_string(),
        "Dir::Etc::preferences=/dev/null".to_string(),
        "Dir::Etc::preferencesparts=/dev/null".to_string(),
        format!("Dir::State={}", at("state")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("cache")),
        "APT::Install-Recommends=false".to_string(),
        "APT::Sandbox::User=root".to_string(),
        "Acquire::Languages=none".to_string(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_string(),
    ] {
        command.args(["-o", &option]);
    }
    command
}

/// Finds the Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(ORIGIN) $(LABEL)",
        "Created-By: Packages",
    ]))?;
    targets
        .lines()
        .find_map(|line| line.strip_suffix(" Debian Debian"))
        .map(str::to_string)
        .context("apt knows no Debian mirror: run `apt-get update` and run this again")
}

fn debs_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut debs: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    debs.sort();
    Ok(debs)
}

/// Copies nix and its libraries out of the unpacked packages and points nix at them.
fn assemble(tree: &Path, prefix: &Path) -> Result<()> {
    remove(prefix)?;
    let (bin, lib) = (prefix.join("bin"), prefix.join("lib"));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&lib)?;
    let libraries = tree.join("usr/lib/x86_64-linux-gnu");
    let nix = bin.join("nix");
    fs::copy(tree.join("usr/bin/nix"), &nix)?;
    for library in needed_libraries(&libraries, &nix)? {
        let name = library.file_name().context("a library without a name")?;
        fs::copy(&library, lib.join(name))?;
    }
    quiet(
        Command::new("patchelf")
            .arg("--set-interpreter")
            .arg(lib.join("ld-linux-x86-64.so.2"))
            .args(["--force-rpath", "--set-rpath"])
            .arg(&lib)
            .arg(&nix),
    )?;
    for program in PROGRAMS {
        std::os::unix::fs::symlink("nix", bin.join(program))?;
    }
    quiet(Command::new(&nix).arg("--version"))
}

/// Lists every library that the dynamic loader of the packages finds for a program, and the
/// loader itself.
fn needed_libraries(libraries: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let list = output(
        Command::new(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(libraries)
            .arg("--list")
            .arg(program),
    )?;
    if let Some(missing) = list.lines().find(|line| line.contains("not found")) {
        bail!("a library of nix is missing from the packages: {}", missing.trim());
    }
    Ok(list.lines().filter_map(library_path).collect())
}

/// Takes the path out of `libz.so.1 => /tree/libz.so.1 (0x7f…)`.
fn library_path(line: &str) -> Option<PathBuf> {
    let (_, target) = line.split_once("=> ")?;
    Some(PathBuf::from(target.split(" (").next()?.trim()))
}
