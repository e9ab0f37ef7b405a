//! A drive that does not do what it says: a loop device over a file whose reads and writes
//! this process answers, by FUSE.
//!
//! The file is the whole file system (its root is a regular file), so that a handful of
//! requests is all that the kernel makes. Numbers and layouts are those of linux/fuse.h.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::skipped;

const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
/// Forget, interrupt, destroy, forget many: nobody waits for an answer.
const UNANSWERED: [u32; 4] = [2, 36, 38, 42];
/// The kernel keeps nothing of the file in its own memory.
const DIRECT_IO: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
const REGULAR_FILE: u32 = 0o100_600;
const MAX_WRITE: u32 = 128 << 10;
const IN_HEADER: usize = 40;
const IO_HEADER: usize = 40;

/// What the drive does with what is written to it.
#[derive(Clone)]
pub struct Faults {
    /// What it says it has, and what it keeps, bytes.
    pub says: u64,
    pub keeps: usize,
    /// Whether what is beyond lands at a lower place, or nowhere.
    pub wraps: bool,
    /// A place that keeps another byte than it is given.
    pub worn_at: Option<usize>,
}

/// Where a write waits until it may go on: the first that gives a place this byte.
pub struct Gate {
    pub at: u64,
    pub byte: u8,
    pub reached: Sender<()>,
    pub go_on: Receiver<()>,
}

pub struct FakeDrive {
    pub device: PathBuf,
    file: PathBuf,
    kept: Arc<Mutex<Vec<u8>>>,
    server: Option<JoinHandle<()>>,
}

impl FakeDrive {
    /// None, and said so, where the kernel does not let this process make one.
    pub fn new(dir: &Path, faults: &Faults, gate: Option<Gate>) -> Option<Self> {
        let file = dir.join("fake-drive");
        File::create(&file).unwrap();
        let fuse = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(fuse) => fuse,
            Err(error) => return none(&format!("/dev/fuse: {error}")),
        };
        let options =
            format!("fd={},rootmode=100000,user_id=0,group_id=0,allow_other\0", fuse.as_raw_fd());
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).unwrap();
        if let Err(error) = mount("fake", &file, "fuse", MountFlags::empty(), options) {
            return none(&format!("FUSE cannot be mounted here: {error}"));
        }
        let kept = Arc::new(Mutex::new(vec![0xff; faults.keeps]));
        let server = Server { fuse, faults: faults.clone(), kept: Arc::clone(&kept), gate };
        let server = Some(std::thread::spawn(move || server.run()));
        let mut drive = Self { device: PathBuf::new(), file, kept, server };
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&drive.file).output();
        match made {
            Ok(output) if output.status.success() => {
                drive.device = String::from_utf8(output.stdout).unwrap().trim().into();
                Some(drive)
            }
            Ok(output) => none(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => none(&format!("losetup: {error}")),
        }
    }

    /// What the drive really holds.
    pub fn kept(&self) -> Vec<u8> {
        self.kept.lock().unwrap().clone()
    }
}

fn none(why: &str) -> Option<FakeDrive> {
    skipped(why.trim());
    None
}

impl Drop for FakeDrive {
    fn drop(&mut self) {
        if !self.device.as_os_str().is_empty() {
            let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
        }
        // The server ends when the kernel has nothing more to ask.
        let _ = unmount(&self.file, UnmountFlags::DETACH);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

struct Server {
    fuse: File,
    faults: Faults,
    kept: Arc<Mutex<Vec<u8>>>,
    gate: Option<Gate>,
}

impl Server {
    fn run(mut self) {
        let mut request = vec![0; IN_HEADER + IO_HEADER + MAX_WRITE as usize];
        loop {
            let length = match self.fuse.read(&mut request) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(ENOENT) => continue,
                Err(_) => return,
            };
            let (opcode, unique) = (u32_at(&request, 4), u64_at(&request, 8));
            if UNANSWERED.contains(&opcode) {
                continue;
            }
            let (error, body) = match self.answer(opcode, &request[IN_HEADER..length]) {
                Some(body) => (0, body),
                None => (-ENOSYS, Vec::new()),
            };
            let mut reply = Vec::with_capacity(16 + body.len());
            reply.extend_from_slice(&u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
            reply.extend_from_slice(&error.to_ne_bytes());
            reply.extend_from_slice(&unique.to_ne_bytes());
            reply.extend_from_slice(&body);
            let _ = self.fuse.write_all(&reply);
        }
    }

    fn answer(&mut self, opcode: u32, request: &[u8]) -> Option<Vec<u8>> {
        match opcode {
            INIT => Some(init()),
            GETATTR | SETATTR => Some(self.attributes()),
            // A handle, the flags, padding.
            OPEN => Some([0, 0, DIRECT_IO, 0].into_iter().flat_map(u32::to_ne_bytes).collect()),
            READ => {
                let (offset, size) = (u64_at(request, 8), u32_at(request, 16));
                Some(self.read(offset, u64::from(size)))
            }
            WRITE => {
                let (offset, size) = (u64_at(request, 8), u32_at(request, 16));
                self.write(offset, &request[IO_HEADER..IO_HEADER + size as usize]);
                Some([size, 0].into_iter().flat_map(u32::to_ne_bytes).collect())
            }
            RELEASE | FSYNC | FLUSH => Some(Vec::new()),
            _ => None,
        }
    }

    /// How long they hold, and `struct fuse_attr` of a file that is as large as it says.
    fn attributes(&self) -> Vec<u8> {
        let mut body = vec![0; 16];
        let longs = [1, self.faults.says, self.faults.says / 512, 0, 0, 0];
        body.extend(longs.into_iter().flat_map(u64::to_ne_bytes));
        let words = [0, 0, 0, REGULAR_FILE, 1, 0, 0, 0, 4096, 0];
        body.extend(words.into_iter().flat_map(u32::to_ne_bytes));
        body
    }

    fn place(&self, offset: u64) -> Option<usize> {
        let offset = usize::try_from(offset).unwrap();
        match offset < self.faults.keeps {
            true => Some(offset),
            false => self.faults.wraps.then(|| offset % self.faults.keeps),
        }
    }

    fn read(&self, offset: u64, size: u64) -> Vec<u8> {
        let kept = self.kept.lock().unwrap();
        let end = (offset + size).min(self.faults.says);
        (offset..end).map(|at| self.place(at).map_or(0, |place| kept[place])).collect()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let at = |place: u64| bytes.get(usize::try_from(place.checked_sub(offset)?).ok()?);
        if let Some(gate) = self.gate.take_if(|gate| at(gate.at) == Some(&gate.byte)) {
            // Whoever holds the other ends may be gone.
            let _ = gate.reached.send(());
            let _ = gate.go_on.recv();
        }
        let mut kept = self.kept.lock().unwrap();
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(place) = self.place(at) {
                kept[place] = *byte;
            }
        }
        if let Some(worn) = self.faults.worn_at {
            kept[worn] = 0x55;
        }
    }
}

const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// `struct fuse_init_out`: version 7.31, with writes of more than a page.
fn init() -> Vec<u8> {
    let mut body: Vec<u8> = [7, 31, 0, BIG_WRITES].into_iter().flat_map(u32::to_ne_bytes).collect();
    body.extend([16_u16, 12].into_iter().flat_map(u16::to_ne_bytes));
    body.extend([MAX_WRITE, 1].into_iter().flat_map(u32::to_ne_bytes));
    body.resize(64, 0);
    body
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
