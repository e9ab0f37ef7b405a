//! Scans several addresses for host keys, concurrently and repeatedly, without logging in.
//!
//! Used while waiting for a machine that may come back at another address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::{Endpoint, HostKey, scan_key};
use crate::exec;

/// Time limit of one scan.
const TRY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(5);

/// A set of scanning threads, which end when it is dropped.
#[derive(Debug)]
pub(crate) struct HostKeyWatcher {
    found: Receiver<(Endpoint, HostKey)>,
    ending: Arc<AtomicBool>,
}

impl HostKeyWatcher {
    /// Starts a thread for each of `places`. `kinds` is a value of `HostKeyAlgorithms`.
    pub(crate) fn start(places: &[Endpoint], kinds: &str) -> Self {
        let (sender, found) = mpsc::channel();
        let ending = Arc::new(AtomicBool::new(false));
        for place in places {
            let (sender, ending) = (sender.clone(), ending.clone());
            let place = Endpoint { may_ask: false, ..place.clone() };
            let kinds = kinds.to_owned();
            std::thread::spawn(move || {
                while !ending.load(Ordering::Relaxed) {
                    if let Ok(key) = scan_key(&place, TRY, Some(&kinds))
                        && sender.send((place.clone(), key)).is_err()
                    {
                        return;
                    }
                    if exec::sleep(PAUSE).is_err() {
                        return;
                    }
                }
            });
        }
        Self { found, ending }
    }

    /// Returns the next key that was presented, and the address; `None` after `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Option<(Endpoint, HostKey)> {
        self.found.recv_timeout(patience).ok()
    }
}

impl Drop for HostKeyWatcher {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}
