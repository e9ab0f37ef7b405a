//! Other places where a machine may answer: asked which key is there, side by side,
//! again and again, without logging in anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::{Endpoint, HostKey, scan_key};
use crate::exec;

/// A machine that is there shows its key within this time.
const TRY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(5);

/// Looks at places as long as it lives.
#[derive(Debug)]
pub struct HostKeyWatcher {
    found: Receiver<(Endpoint, HostKey)>,
    ending: Arc<AtomicBool>,
}

impl HostKeyWatcher {
    /// `kinds` is a list for `HostKeyAlgorithms`: which of a machine's keys to ask for.
    pub fn start(places: &[Endpoint], kinds: &str) -> Self {
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

    /// The next key that was seen, and where.
    pub fn next(&self, patience: Duration) -> Option<(Endpoint, HostKey)> {
        self.found.recv_timeout(patience).ok()
    }
}

impl Drop for HostKeyWatcher {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}
