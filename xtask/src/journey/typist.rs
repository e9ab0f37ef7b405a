//! The person at the machine's console, who types the passphrase of each volume at each boot.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use regex::Regex;

use crate::vm::Console;

/// What a person needs to read a prompt.
const READING: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// A prompt for a passphrase, or what shows that the machine cannot start.
const EVENTS: &str =
    r"(?i)enter passphrase for[^\r\n]*: ?|you are in emergency mode|kernel panic - [^\r\n]*";

/// What is typed for which volume.
pub(crate) struct Passphrases {
    pub(crate) usual: String,
    /// Of single volumes, by what the prompt calls them; the last of a volume counts.
    pub(crate) by_volume: Mutex<Vec<VolumePassphrase>>,
}

/// The passphrase of one volume.
pub(crate) struct VolumePassphrase {
    volume: String,
    passphrase: String,
}

impl Passphrases {
    /// Sets the passphrase of one volume.
    pub(crate) fn set(&self, volume: &str, passphrase: &str) {
        let (volume, passphrase) = (volume.to_string(), passphrase.to_string());
        let mut all = self.by_volume.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(VolumePassphrase { volume, passphrase });
    }

    /// Returns what a prompt asks for.
    fn asked_by(&self, prompt: &str) -> String {
        let all = self.by_volume.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().rev().find(|one| prompt.contains(&one.volume));
        own.map_or(&self.usual, |own| &own.passphrase).clone()
    }
}

/// What was seen on the console.
#[derive(Default)]
pub(crate) struct Seen {
    /// How often a passphrase was typed.
    pub(crate) typed: AtomicU32,
    /// Whether the machine has said that it cannot start.
    pub(crate) stuck: AtomicBool,
}

/// A thread that watches the console and types; it ends when this is dropped.
pub(crate) struct Typist {
    thread: Option<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
}

impl Typist {
    /// Starts to watch a console, and to note what is seen on it.
    pub(crate) fn start(
        mut console: Console,
        passphrases: &Arc<Passphrases>,
        seen: &Arc<Seen>,
    ) -> Result<Typist> {
        let (passphrases, seen) = (Arc::clone(passphrases), Arc::clone(seen));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let events = Regex::new(EVENTS)?;
        let thread = std::thread::spawn(move || -> Result<()> {
            while !stopped.load(Ordering::Relaxed) {
                match next_event(&mut console, &events)? {
                    Some(prompt) if prompt.to_lowercase().contains("passphrase") => {
                        console.type_line(&passphrases.asked_by(&prompt))?;
                        seen.typed.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(_) => seen.stuck.store(true, Ordering::Relaxed),
                    None => {}
                }
                std::thread::sleep(POLL);
            }
            Ok(())
        });
        Ok(Typist { thread: Some(thread), stop })
    }

    /// Says whether the thread is over, though nobody has stopped it.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops typing, and waits until the console is free.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().ok().context("who types at the console fell over")?
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Returns the prompt, or other event, that stands there once nothing more comes. Each volume
/// that waits tries what was typed for another one, which takes its prompt back and asks again.
fn next_event(console: &mut Console, events: &Regex) -> Result<Option<String>> {
    let Some(mut event) = console.find(events)? else { return Ok(None) };
    loop {
        std::thread::sleep(READING);
        match console.find(events)? {
            Some(next) => event = next,
            None => return Ok(Some(event)),
        }
    }
}
