//! Whether a name can be given to a key, and whether a key is somebody else's by its name.

use super::rules::Rules;
use super::rules::hosts;
use crate::sops::rules::edit::EditError;
use crate::sops::rules::hosts::{HostEntry, Role};

/// The entry that holds the key under another name, where that can be the host's too:
/// nobody else's key is given away under its name.
pub(crate) fn known_otherwise<'n>(
    rules: &'n Rules<'_>,
    role: Role,
    host: &str,
    recipient: &str,
) -> Result<Option<HostEntry<'n>>, EditError> {
    let known = hosts::with_key(rules, recipient).filter(|known| known.anchor.is_some());
    let Some(known) = known else { return Ok(None) };
    let owner = known.anchor_name().unwrap_or_default();
    let person = role == Role::Host && hosts::is_persons(rules, owner, recipient);
    if person || !hosts::speaks_of(owner, host) {
        let (host, owner) = (host.to_owned(), owner.to_owned());
        return Err(EditError::Theirs { host, owner, person });
    }
    Ok(Some(known))
}

/// Refuses what would leave an anchor without a name.
pub(crate) fn check(name: &str) -> Result<(), EditError> {
    match name.chars().any(|c| c.is_ascii_alphanumeric()) {
        true => Ok(()),
        false => Err(EditError::BadName { name: name.to_owned() }),
    }
}
