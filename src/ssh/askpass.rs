//! Lets this process answer the prompts of ssh: passwords, passphrases of keys, one-time codes.
//!
//! ssh runs the program in `SSH_ASKPASS` with its prompt as the argument. That program is
//! landfall itself, started through a symbolic link in a private directory. It forwards the
//! prompt over a socket in that directory to the landfall that started ssh, and prints the answer
//! to ssh's pipe.
//!
//! Invariants: secrets are in no argument, environment variable or file; a run asks each question
//! once, and a person sees which machine it is about.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::SshError;
use super::answers::{Answer, Asked, AskpassResponder, Unanswered};
use super::session::socket_dir;
use crate::exec::Cmd;
use crate::secret::Secret;

/// Names of the links to landfall: `ask` may prompt a person, `recall` only repeats earlier
/// answers.
const ASK: &str = "ask";
const RECALL: &str = "recall";
const SOCKET: &str = "questions";
const TICK: Duration = Duration::from_millis(50);

/// A server that answers prompts until it is dropped, of every ssh that is started with it.
#[derive(Debug, Clone)]
pub struct Askpass(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: TempDir,
    responder: Arc<AskpassResponder>,
    ending: Arc<AtomicBool>,
}

impl PartialEq for Askpass {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Askpass {}

impl Askpass {
    /// Starts the server. `program` is the path of landfall; the socket is in `run_dir`, like
    /// that of a session.
    pub fn serve(
        program: &Path,
        run_dir: &Path,
        responder: AskpassResponder,
    ) -> Result<Self, SshError> {
        let failed = |source| SshError::Io { doing: "preparing to answer what ssh asks", source };
        let dir = socket_dir(run_dir)?;
        for name in [ASK, RECALL] {
            std::os::unix::fs::symlink(program, dir.path().join(link(name))).map_err(failed)?;
        }
        let listener = UnixListener::bind(dir.path().join(SOCKET)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let responder = Arc::new(responder);
        let ending = Arc::new(AtomicBool::new(false));
        let inner = Inner { dir, responder: responder.clone(), ending: ending.clone() };
        std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let responder = responder.clone();
                        std::thread::spawn(move || {
                            if let Err(error) = answer(&stream, &responder) {
                                tracing::error!(%error, "a question of ssh was lost");
                            }
                        });
                    }
                    Err(_) => std::thread::sleep(TICK),
                }
            }
        });
        Ok(Self(Arc::new(inner)))
    }

    /// Says whether any prompt can be answered.
    pub(super) fn can_answer(&self) -> bool {
        self.0.responder.can_answer()
    }

    /// Sets the environment of an ssh whose prompts a person may answer.
    pub(super) fn ask(&self, cmd: Cmd) -> Cmd {
        self.answers(cmd, ASK)
    }

    /// Sets the environment of an ssh whose prompts only earlier answers serve.
    pub(super) fn recall(&self, cmd: Cmd) -> Cmd {
        self.answers(cmd, RECALL)
    }

    fn answers(&self, cmd: Cmd, name: &str) -> Cmd {
        cmd.env("SSH_ASKPASS", self.0.dir.path().join(link(name)))
            .env("SSH_ASKPASS_REQUIRE", "force")
    }

    /// Takes the last prompt that stayed without an answer.
    pub(super) fn unanswered(&self) -> Option<Unanswered> {
        self.0.responder.take_unanswered()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

fn link(name: &str) -> String {
    format!("landfall-{name}")
}

/// Reads one prompt and writes the reply: `+` and the answer; `-` for none; `!` when the asking
/// ssh has to be ended; nothing to a notice. A prompt is the link's name, the value of
/// `SSH_ASKPASS_PROMPT` and the process id of ssh, in a line each, then the text.
fn answer(stream: &UnixStream, responder: &AskpassResponder) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut question = String::new();
    (&*stream).read_to_string(&mut question)?;
    let mut parts = question.splitn(4, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (name, kind, ssh) = (next(), next(), next());
    let asked = Asked { kind, ssh, text: next(), may_ask: name == ASK };
    let mut out = stream;
    match responder.answer(&asked) {
        Answer::Given(secret) => {
            out.write_all(b"+")?;
            out.write_all(secret.expose())
        }
        Answer::Refused => out.write_all(b"-"),
        Answer::End => out.write_all(b"!"),
        Answer::None => Ok(()),
    }
}

/// Runs as the `SSH_ASKPASS` program and returns the exit code, when ssh started this process;
/// `None` otherwise.
pub fn started_by_ssh() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?;
    let program = Path::new(&program);
    let is = |name: &&str| program.file_name() == Some(OsStr::new(&link(name)));
    let name = [ASK, RECALL].into_iter().find(is)?;
    let text = args.next().unwrap_or_default();
    let answered = put(&program.with_file_name(SOCKET), name, &text.to_string_lossy());
    Some(if answered.unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn put(socket: &Path, name: &str, text: &str) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    let kind = std::env::var("SSH_ASKPASS_PROMPT").unwrap_or_default();
    let ssh = rustix::process::getppid();
    let id = ssh.map_or(0, |ssh| ssh.as_raw_nonzero().get());
    write!(stream, "{name}\n{}\n{id}\n{text}", kind.replace('\n', ""))?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = Secret::new(answer);
    match answer.expose() {
        [b'+', secret @ ..] => {
            let mut out = io::stdout().lock();
            out.write_all(secret)?;
            out.write_all(b"\n")?;
            out.flush()?;
            Ok(true)
        }
        [b'!'] => {
            // ssh would take the missing answer for an empty one, and send that.
            if let Some(ssh) = ssh {
                rustix::process::kill_process(ssh, rustix::process::Signal::TERM)?;
            }
            Ok(false)
        }
        // A notice has no answer.
        _ => Ok(kind == "none"),
    }
}
