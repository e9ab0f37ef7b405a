//! The target of whole runs: a real sshd whose sessions see an installer.
//!
//! The sshd runs on this very machine. Its disk has a path that nothing has here, and
//! runs end before the step that formats: nothing can be destroyed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::sshd::{KeyPair, Sshd, keygen};
use super::users;

/// Serial and path of the target's disk; no machine has a device of that name.
pub const SERIAL: &str = "LANDFALL-TEST-1";
pub const DEVICE: &str = "/dev/landfall-test-1";
pub const HARDWARE: &str = r#"{ lib, modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];
  boot.initrd.availableKernelModules = [ "ahci" "virtio_pci" "virtio_blk" ];
  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}"#;

/// A target: an sshd whose sessions see another os-release, other memory, and the
/// programs of an installer, each in a mount namespace of its own.
pub struct Installer {
    pub sshd: Sshd,
    dir: PathBuf,
}

impl Installer {
    pub fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("bin")).unwrap();
        let keys = tempfile::tempdir().unwrap();
        let host = keygen(keys.path(), "host", "ed25519");
        let session = dir.join("session");
        users::root_with_password(&keys);
        let more = format!(
            "ForceCommand {}\nPermitRootLogin yes\nPasswordAuthentication yes\nLogLevel DEBUG1",
            session.display()
        );
        let sshd = Sshd::start_with(keys, &[host], &more);
        let installer = Self { sshd, dir: dir.to_owned() };
        installer.runs("nixos", "installer");
        installer.has_memory_mib(4096);
        installer.has_disks(&[disk(DEVICE, SERIAL, 32)]);
        installer.is_a("x86_64");
        installer.reports(HARDWARE);
        installer.script("session", SESSION);
        installer.script("bin/lsblk", LSBLK);
        installer.script("bin/uname", "exec cat \"$target/machine\"");
        installer.script("bin/nixos-generate-config", GENERATE_CONFIG);
        installer
    }

    /// Another machine takes its place, at the same address and open to the same key.
    pub fn is_replaced(&mut self) {
        let port = self.sshd.port;
        let elsewhere = Sshd::start();
        let dir = std::mem::replace(&mut self.sshd, elsewhere).stop();
        let key = keygen(dir.path(), "another", "ed25519");
        self.sshd = Sshd::start_at(dir, port, &[key], "LogLevel DEBUG1");
    }

    /// The same machine at the same address, with an installed system and its host key.
    pub fn installed(self, host_key: &Path) -> Self {
        let Self { sshd, dir } = self;
        let port = sshd.port;
        let public = fs::read_to_string(host_key.with_extension("pub")).unwrap().parse().unwrap();
        let key = KeyPair { private: host_key.to_owned(), public };
        let more = format!("ForceCommand {}", dir.join("session").display());
        let installer = Self { sshd: Sshd::start_at(sshd.stop(), port, &[key], &more), dir };
        installer.runs("nixos", "");
        installer
    }

    /// What os-release says.
    pub fn runs(&self, id: &str, variant: &str) {
        self.write("os-release", &format!("ID={id}\nVARIANT_ID={variant}\n"));
    }

    pub fn has_memory_mib(&self, mib: u64) {
        self.write("meminfo", &format!("MemTotal: {0} kB\nMemAvailable: {0} kB\n", mib * 1024));
    }

    /// Whether it was started by a BIOS, not by UEFI.
    pub fn is_bios(&self, bios: bool) {
        let file = self.dir.join("bios");
        if bios { fs::write(file, "").unwrap() } else { fs::remove_file(file).unwrap() }
    }

    pub fn has_disks(&self, disks: &[Value]) {
        self.write("lsblk", &json!({ "blockdevices": disks }).to_string());
    }

    /// What uname tells of the processor.
    pub fn is_a(&self, machine: &str) {
        self.write("machine", &format!("{machine}\n"));
    }

    /// What nixos-generate-config prints.
    pub fn reports(&self, hardware: &str) {
        self.write("hardware", &format!("{hardware}\n"));
    }

    /// The home that its sessions have from now on; else it is that of the caller.
    pub fn home(&self) -> PathBuf {
        let home = self.dir.join("home");
        fs::create_dir_all(&home).unwrap();
        home
    }

    /// From now on whoever logs in has this name.
    pub fn is_used_by(&self, name: &str) {
        self.script("bin/id", &format!("echo {name}"));
    }

    /// From now on nixos-generate-config does not come to an end, or does again. A run looks
    /// once before it asks; it is the step itself that hangs.
    pub fn hangs(&self, hangs: bool) {
        let file = self.dir.join("hang");
        let _ = fs::remove_file(self.dir.join("waiting"));
        if hangs { fs::write(file, "not yet").unwrap() } else { fs::remove_file(file).unwrap() }
    }

    /// Whether somebody is waiting for it.
    pub fn is_waited_for(&self) -> bool {
        self.dir.join("waiting").exists()
    }

    /// A folder that its sessions see at `/mnt` as soon as a script has made `mounted`
    /// here, and others that they see as `/media`, `/run` and root's home.
    pub fn has_room(&self) -> PathBuf {
        for dir in ["root", "mnt", "media", "run"] {
            fs::create_dir_all(self.dir.join(dir)).unwrap();
        }
        let cache = std::env::var("LANDFALL_LAB_CACHE").unwrap_or_default();
        self.write("cache", &cache);
        self.dir.join("mnt")
    }

    /// From now on it looks like a machine whose kernel takes a kexec.
    pub fn takes_kexec(&self) {
        fs::create_dir_all(self.dir.join("kernel")).unwrap();
        self.write("kernel/kexec_loaded", "0\n");
        self.script("bin/systemd-detect-virt", "echo none");
        for name in ["cpio", "ip"] {
            self.script(&format!("bin/{name}"), "exit 0");
        }
    }

    /// The private half of the key that it shows.
    pub fn host_private(&self) -> PathBuf {
        self.sshd.dir.path().join("host")
    }

    /// A file of the target, beside what its sessions see.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Adds a program to its PATH; `$target` is its folder.
    pub fn script(&self, name: &str, body: &str) {
        let target = self.dir.display();
        self.write(name, &format!("#!/bin/sh\ntarget='{target}'\n{body}\n"));
        fs::set_permissions(self.dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }
}

const SESSION: &str = r#"export target
exec unshare --mount -- sh -c '
mount --bind "$target/os-release" /etc/os-release
mount --bind "$target/meminfo" /proc/meminfo
mount -t tmpfs none /sys/firmware
if [ -e "$target/boot_id" ]; then
  mount --bind "$target/boot_id" /proc/sys/kernel/random/boot_id
fi
if [ -d "$target/kernel" ]; then mount --bind "$target/kernel" /sys/kernel; fi
[ -e "$target/bios" ] || mkdir /sys/firmware/efi
if [ -d "$target/etc-ssh" ]; then mount --bind "$target/etc-ssh" /etc/ssh; fi
# nix itself may lie below the home that is hidden now.
cache=$(cat "$target/cache" 2>/dev/null)
case $cache in /root/*)
  mkdir -p "$target/root/${cache#/root/}"
  mount --bind "$cache" "$target/root/${cache#/root/}" ;;
esac
for dir in root media run; do
  if [ -d "$target/$dir" ]; then mount --rbind "$target/$dir" "/$dir"; fi
done
# Where /mnt of this machine is a mount point, it is none of the target.
if mountpoint -q /mnt; then umount -R /mnt || exit 1; fi
if [ -e "$target/mounted" ]; then mount --bind "$target/mnt" /mnt; fi
PATH=$target/bin:$PATH
if [ -d "$target/home" ]; then export HOME="$target/home"; cd; fi
exec sh -c "$SSH_ORIGINAL_COMMAND"
'"#;

/// The tree of one disk, where that is asked for: nothing is stacked on it.
const LSBLK: &str = r#"for last; do :; done
case " $* " in
  *" --raw "*) echo "$last disk" ;;
  *) exec cat "$target/lsblk" ;;
esac"#;

const GENERATE_CONFIG: &str = r#"[ "$*" = '--no-filesystems --show-hardware-config' ] || exit 2
if [ -s "$target/hang" ]; then
  : >"$target/hang"
elif [ -e "$target/hang" ]; then
  : >"$target/waiting"
  exec sleep 60
fi
exec cat "$target/hardware""#;

/// A blank disk, as lsblk tells it.
pub fn disk(path: &str, serial: &str, gib: u64) -> Value {
    json!({
        "name": path.trim_start_matches("/dev/"), "path": path, "type": "disk",
        "size": gib << 30, "model": "Test Disk", "serial": serial, "rm": false, "ro": false,
        "fstype": null, "label": null, "partlabel": null, "ptuuid": null, "mountpoints": [null],
    })
}
