//! A root folder in which /nix exists: every top-level entry of the host bound into a small
//! tmpfs, and the lab's store beside them.
//!
//! Runs inside a fresh mount namespace (made by `unshare`), so nothing here is seen by the
//! host. Two shapes: [`writable`] for people and tests, [`read_only`] for builders.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

/// Device nodes a builder may use; a disk is not among them.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Shows the host as it is, with `/nix`; the working folder stays.
pub(crate) fn writable(mountpoint: &Path, nix: &Path) -> Result<()> {
    let cwd = std::env::current_dir().context("the working folder is gone")?;
    new_root(mountpoint, &[])?;
    bind_nix(mountpoint, nix)?;
    enter(mountpoint)?;
    chdir(&cwd).with_context(|| format!("cannot go back to {}", cwd.display()))
}

/// Shows the host read-only, with a writable `/nix`, an empty `/tmp`, few devices, and `/proc`
/// of the new process namespace. The folder `needed` stays in sight wherever it is.
pub(crate) fn read_only(mountpoint: &Path, nix: &Path, needed: &Path) -> Result<()> {
    new_root(mountpoint, &["tmp", "dev", "proc"])?;
    for at in mounts_below(mountpoint)? {
        make_read_only(&at)?;
    }
    let tmpfs = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", mountpoint.join("tmp"), "tmpfs", tmpfs, c"mode=1777")?;
    let proc = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", mountpoint.join("proc"), "proc", proc, None)?;
    let settings = mountpoint.join("proc/sys");
    mount_bind(&settings, &settings)?;
    mount_remount(&settings, proc | MountFlags::BIND | MountFlags::RDONLY, c"")?;
    if let Ok(below) = needed.strip_prefix("/tmp") {
        let at = mountpoint.join("tmp").join(below);
        fs::create_dir_all(&at)?;
        mount_bind(needed, &at)?;
        make_read_only(&at)?;
    }
    few_devices(&mountpoint.join("dev"))?;
    bind_nix(mountpoint, nix)?;
    let read_only = MountFlags::RDONLY | MountFlags::NOSUID;
    mount_remount(mountpoint, read_only | MountFlags::BIND, c"")?;
    enter(mountpoint)?;
    chdir("/").context("cannot go to /")
}

/// Mounts a tmpfs at `mountpoint` and binds the host's top-level entries into it; those
/// named in `empty` are left as empty folders.
fn new_root(mountpoint: &Path, empty: &[&str]) -> Result<()> {
    fs::create_dir_all(mountpoint)?;
    mount("tmpfs", mountpoint, "tmpfs", MountFlags::NOSUID, c"mode=0755,size=1m")
        .context("cannot mount a tmpfs for the lab's root")?;
    for entry in fs::read_dir("/")? {
        let name = entry?.file_name();
        let at = mountpoint.join(&name);
        if name != "nix" {
            let bare = empty.iter().any(|empty| name == *empty);
            place(&Path::new("/").join(&name), &at, bare)
                .with_context(|| format!("cannot bind /{}", name.to_string_lossy()))?;
        }
    }
    Ok(())
}

/// Binds one entry of the host; a symlink is made again, and a bare one stays empty.
fn place(host: &Path, at: &Path, bare: bool) -> Result<()> {
    let meta = fs::symlink_metadata(host)?;
    if meta.is_symlink() {
        return Ok(symlink(fs::read_link(host)?, at)?);
    }
    if meta.is_dir() {
        fs::create_dir(at)?;
    } else {
        fs::write(at, "")?;
    }
    if bare {
        return Ok(());
    }
    Ok(mount_bind_recursive(host, at)?)
}

fn bind_nix(root: &Path, nix: &Path) -> Result<()> {
    fs::create_dir_all(nix)?;
    let at = root.join("nix");
    fs::create_dir(&at)?;
    mount_bind(nix, &at).context("cannot bind the lab's /nix")
}

/// Fills `/dev` with the few devices that builders may use.
fn few_devices(dev: &Path) -> Result<()> {
    mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID, c"mode=0755,size=64m")?;
    for device in DEVICES {
        let at = dev.join(device);
        fs::write(&at, "")?;
        mount_bind(Path::new("/dev").join(device), &at)?;
    }
    fs::create_dir(dev.join("shm"))?;
    // nix reads a builder's output through a pseudoterminal.
    fs::create_dir(dev.join("pts"))?;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", dev.join("pts"), "devpts", terminals, c"newinstance,ptmxmode=0666,mode=0620")?;
    symlink("pts/ptmx", dev.join("ptmx"))?;
    symlink("/proc/self/fd", dev.join("fd"))?;
    for (number, name) in ["stdin", "stdout", "stderr"].into_iter().enumerate() {
        symlink(format!("/proc/self/fd/{number}"), dev.join(name))?;
    }
    Ok(())
}

/// Lists every mount below a folder, innermost last.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    Ok(places.filter(|at| at.starts_with(dir) && at != dir).collect())
}

/// Decodes a path of the kernel's tables, which write space, tab, newline and backslash as
/// octal escapes.
fn unescape(field: &str) -> PathBuf {
    let plain = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    PathBuf::from(plain.replace("\\134", "\\"))
}

/// Makes one mount read-only, and keeps the flags that it has: the kernel refuses to drop some
/// of them.
fn make_read_only(at: &Path) -> Result<()> {
    use rustix::fs::StatVfsMountFlags as Has;
    // A mount hidden below a later one, or one this user may not see, needs no change.
    let Ok(stat) = rustix::fs::statvfs(at) else { return Ok(()) };
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (has, keep) in [
        (Has::NOSUID, MountFlags::NOSUID),
        (Has::NODEV, MountFlags::NODEV),
        (Has::NOEXEC, MountFlags::NOEXEC),
        (Has::NOATIME, MountFlags::NOATIME),
        (Has::RELATIME, MountFlags::RELATIME),
    ] {
        if stat.f_flag.contains(has) {
            flags |= keep;
        }
    }
    match mount_remount(at, flags, c"") {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        other => other.with_context(|| format!("cannot make {} read-only", at.display())),
    }
}

/// Makes `root` the root and forgets the old one.
fn enter(root: &Path) -> Result<()> {
    chdir(root)?;
    pivot_root(".", ".").context("cannot change the root")?;
    unmount(".", UnmountFlags::DETACH).context("cannot let go of the old root")
}

/// Says whether two paths are the same folder, across binds.
pub(crate) fn same_folder(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
