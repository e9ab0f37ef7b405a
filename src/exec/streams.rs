//! What goes into a process and what comes out of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use zeroize::Zeroizing;

use super::interrupt::{interrupt, interrupted};
use super::{OnSent, Stream, TICK};
use crate::secret::Secret;

/// Small enough for a progress bar that moves, large enough to cost nothing.
const SENT_AT_ONCE: usize = 256 << 10;

/// How much of a stream is taken in one go.
const READ_AT_ONCE: usize = 64 << 10;

/// What standard input is fed from.
#[derive(Debug)]
pub(crate) enum Input {
    Null,
    Bytes(Vec<u8>),
    Secret(Secret),
    File(PathBuf),
    Socket(UnixStream),
}

/// Writes the preamble, then the input.
pub(crate) fn feed(
    pipe: &mut impl Write,
    preamble: Option<Secret>,
    input: Input,
    on_sent: Option<OnSent>,
) -> io::Result<()> {
    if let Some(bytes) = preamble {
        pipe.write_all(bytes.expose())?;
    }
    match input {
        Input::Null => Ok(()),
        Input::Bytes(bytes) => pipe.write_all(&bytes),
        Input::Secret(bytes) => pipe.write_all(bytes.expose()),
        Input::File(path) => send(&path, pipe, on_sent),
        Input::Socket(socket) => relay(socket, pipe),
    }
}

/// Not `io::copy`: its splice keeps a pipe locked while it waits for a socket, and what
/// was fed before cannot be read until more comes.
pub(crate) fn relay(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; READ_AT_ONCE];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

/// Copies a file in pieces, and says how far it has come.
fn send(path: &Path, to: &mut impl Write, on_sent: Option<OnSent>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut on_sent = on_sent.map_or_else(|| Box::new(|_| ()) as Box<dyn FnMut(u64)>, |it| it.0);
    let mut piece = vec![0; SENT_AT_ONCE];
    let mut sent = 0;
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length])?;
        sent += length as u64;
        on_sent(sent);
    }
}

/// What a stream brings.
pub(crate) enum Piece {
    /// Whole lines; the last piece may end without a line's end.
    Lines(Stream, Vec<u8>),
    /// A line that is longer than any may be; nothing comes after it.
    TooLong,
}

/// Hands the lines of `stream` on, to its end. A daemon that the child left behind may hold
/// it open for ever: once the child has `ended`, what is there is read, and no more waited for.
pub(crate) fn pump(
    mut stream: impl Read + AsFd + Send + 'static,
    kind: Stream,
    longest: usize,
    sender: SyncSender<Piece>,
    ended: Arc<AtomicBool>,
) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; READ_AT_ONCE];
        let mut begun = Vec::new();
        loop {
            // Looked at first: what the child wrote before its end is there by then.
            let last = ended.load(Ordering::Acquire);
            if !is_readable(&stream) {
                if last {
                    break;
                }
                continue;
            }
            let read = match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => &buffer[..count],
            };
            // Without a receiver the run was given up.
            match read.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => {
                    begun.extend_from_slice(&read[..=end]);
                    let lines = std::mem::replace(&mut begun, read[end + 1..].to_vec());
                    if sender.send(Piece::Lines(kind, lines)).is_err() {
                        return;
                    }
                }
                None if begun.len() + read.len() > longest => {
                    let _ = sender.send(Piece::TooLong);
                    return;
                }
                None => begun.extend_from_slice(read),
            }
        }
        if !begun.is_empty() {
            let _ = sender.send(Piece::Lines(kind, begun));
        }
    });
}

/// Reads `stream` to its end, or to the user's interruption; a terminal that is closed
/// interrupts.
pub(crate) fn read_to_end(stream: &impl AsFd, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = Zeroizing::new([0; 4096]);
    while !interrupted() {
        if !is_readable(stream) {
            continue;
        }
        match rustix::io::read(stream, &mut buffer[..]) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::IO) => interrupt(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Whether there is something to read, or the end, after at most a tick.
fn is_readable(stream: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let tick = Timespec::try_from(TICK).ok();
    let mut files = [PollFd::new(stream, PollFlags::IN)];
    // An interrupted look is a look in vain.
    poll(&mut files, tick.as_ref()).is_ok_and(|ready| ready > 0)
}
