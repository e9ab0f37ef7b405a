//! The forms of the journey: strategies, layouts, ways of holding secrets.

use crate::journey::course::Journey;
use crate::journey::proof::{Proof, STAGED};
use crate::journey::scenario::{Scenario, Share, words};

pub fn scenarios() -> Vec<Scenario> {
    vec![direct()]
}

/// Installed at once: one build, one boot.
pub fn direct() -> Scenario {
    Scenario {
        name: "direct",
        shows: "the full configuration installed at once, LUKS, secrets",
        share: Share::Core,
        flags: words("--strategy direct"),
        holds: with(&[ONE_BOOT]),
        ..Scenario::staged()
    }
}

/// The passphrase was typed once.
const ONE_BOOT: Proof = Proof::new("disk", |journey: &Journey| journey.encrypted_disk(1));

/// What holds after the main journey, where these take the place of those of their names,
/// or come before the login that sends whoever watches the console away.
fn with(others: &[Proof]) -> Vec<Proof> {
    let mut proofs = STAGED.to_vec();
    for other in others {
        match proofs.iter_mut().find(|proof| proof.name == other.name) {
            Some(proof) => *proof = *other,
            None => proofs.push(*other),
        }
    }
    proofs
}
