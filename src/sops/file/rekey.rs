//! Gives an encrypted file the recipients of its rule, as `sops updatekeys` does.
//!
//! The MAC is verified first, so that a tampered file is never passed on to new recipients. The
//! data key, the values, the MAC and the wrapped keys of unchanged recipients stay; only the
//! recipients' section is rewritten.
//!
//! Invariant: a returned text decrypts with the same data key and verifies.

use std::collections::BTreeSet;

use super::format::Format;
use super::metadata::Wrapped;
use super::recipient::RecipientKind;
use super::{EncryptedFile, FileError};
use crate::sops::proof::identities::Identities;

/// The outcome for a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Rekeyed {
    /// It has exactly these recipients already; no identity was needed.
    UpToDate,
    Changed(String),
}

/// Wraps the file's data key for exactly `recipients`.
pub fn rekey(
    text: &str,
    format: Format,
    recipients: &[&str],
    identities: &Identities,
) -> Result<Rekeyed, FileError> {
    let file = EncryptedFile::parse(text, format)?;
    if !file.metadata.other_kinds.is_empty() {
        let kinds = file.metadata.other_kinds.join(", ");
        return Err(FileError::NeedsSops(format!("it has {kinds} keys")));
    }
    if file.metadata.key_groups {
        return Err(FileError::NeedsSops("it has several key groups".into()));
    }
    let has: BTreeSet<&str> = file.metadata.recipients().collect();
    if has == recipients.iter().copied().collect() {
        return Ok(Rekeyed::UpToDate);
    }
    if let Some(foreign) =
        recipients.iter().find(|recipient| !RecipientKind::of(recipient).is_native())
    {
        return Err(FileError::NeedsSops(format!(
            "the recipient {foreign} is not of a kind that landfall knows"
        )));
    }
    let data_key = file.data_key(&identities.as_age())?;
    file.verify(&data_key)?;
    let mut wrapped: Vec<Wrapped> = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        if wrapped.iter().any(|known| known.recipient == *recipient) {
            continue;
        }
        // An existing recipient keeps its wrapped key: an entry that was added by hand, with
        // nothing in `enc`, must not gain access.
        let there = file.metadata.age.iter().find(|known| known.recipient == *recipient);
        wrapped.push(match there {
            Some(there) => there.clone(),
            None => {
                let enc = crate::secret::age::seal(recipient, &data_key)?;
                Wrapped { recipient: (*recipient).to_owned(), enc }
            }
        });
    }
    let changed = file.with_recipients(&wrapped)?;
    check(&changed, format, &wrapped, &data_key)?;
    Ok(Rekeyed::Changed(changed))
}

/// Parses the new text and checks its recipients, data key and values.
fn check(
    text: &str,
    format: Format,
    wrapped: &[Wrapped],
    data_key: &crate::secret::Secret,
) -> Result<(), FileError> {
    let file = EncryptedFile::parse(text, format)?;
    let same = file.metadata.age.len() == wrapped.len()
        && file.metadata.age.iter().zip(wrapped).all(|(found, written)| {
            found.recipient == written.recipient && found.enc.trim_end() == written.enc.trim_end()
        });
    if !same {
        return Err(FileError::NeedsSops("its layout is unusual".into()));
    }
    file.verify(data_key)
}
