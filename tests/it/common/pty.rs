//! A program on a terminal of its own, that can be closed while the program runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

const PATIENCE: Duration = Duration::from_secs(60);

/// A program that leads the session of a terminal.
pub struct Pty {
    master: File,
    pub child: Child,
    seen: Vec<u8>,
}

impl Pty {
    /// Starts `command`, of which program, arguments, folder and environment count.
    pub fn start(command: &Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = || {
            let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
            let mut slave = OpenOptions::new();
            Stdio::from(slave.read(true).write(true).custom_flags(flags).open(&name).unwrap())
        };
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            leader.current_dir(dir);
        }
        leader.env("TERM", "xterm-256color");
        let child = leader.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        // Once the program is there, the terminal does not end by itself.
        Self { master: File::from(master), child, seen: Vec::new() }
    }

    /// Reads until `text` was shown, and gives all that was shown since the last time.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = String::from_utf8_lossy(&self.seen).into_owned();
            if shown.contains(text) {
                self.seen.clear();
                return shown;
            }
            assert!(Instant::now() < end, "no {text:?} in:\n{shown}");
            if !self.read() {
                assert!(self.child.try_wait().unwrap().is_none(), "no {text:?} in:\n{shown}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn read(&mut self) -> bool {
        let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut files = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut files, Some(&tick)).unwrap() == 0 {
            return true;
        }
        let mut buffer = [0; 4096];
        match self.master.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.seen.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Closes the terminal, as a window that is closed or a lost connection does.
    pub fn close(self) -> Child {
        self.child
    }
}

/// How `child` ends; it must within this time.
#[track_caller]
pub fn ended(child: &mut Child, within: Duration) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > within {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running {within:?} later");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
