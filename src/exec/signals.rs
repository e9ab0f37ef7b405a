//! Ctrl-C and its like: running commands are ended, what was done stays done.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Starts to listen. The first signal ends the run in order; a second one at once, after
/// `at_the_end`.
pub fn install(at_the_end: fn()) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    std::thread::spawn(move || {
        for _ in &mut signals {
            if crate::exec::interrupted() {
                at_the_end();
                std::process::exit(crate::error::Exit::Interrupted as i32);
            }
            crate::exec::interrupt();
        }
    });
}
