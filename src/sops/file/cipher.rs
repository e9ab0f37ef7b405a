//! Decrypts one value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
//!
//! AES-256-GCM with a 32-byte nonce. The path of the value (`a:b:`) is authenticated data, so
//! that a value cannot be moved. The format is that of sops' package `aes`.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes256;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

type Aead = aes_gcm::AesGcm<Aes256, U32>;

/// A file's data key.
pub(crate) struct DataKey(Aead);

/// A decrypted value, and sops' name of its type.
pub(crate) struct PlainValue<'a> {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) kind: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CipherError {
    /// The text is not of the form `ENC[…]`: never encrypted, or edited by hand.
    NotEncrypted,
    /// The key, the path or the bytes differ from those of the encryption.
    Tampered,
}

impl DataKey {
    /// Takes the 32 bytes that a recipient's `enc` decrypts to; `None` for another length.
    pub(crate) fn new(bytes: &Secret) -> Option<Self> {
        Aead::new_from_slice(bytes.expose()).ok().map(Self)
    }

    /// Decrypts one value; an empty text is an empty value.
    pub(crate) fn decrypt<'a>(
        &self,
        text: &'a str,
        path: &str,
    ) -> Result<PlainValue<'a>, CipherError> {
        if text.is_empty() {
            return Ok(PlainValue { bytes: Zeroizing::new(Vec::new()), kind: "str" });
        }
        let sealed = Sealed::parse(text).ok_or(CipherError::NotEncrypted)?;
        let decode = |part: &str| BASE64_STANDARD.decode(part).map_err(|_| CipherError::Tampered);
        let mut bytes = Zeroizing::new(decode(sealed.data)?);
        let (iv, tag) = (decode(sealed.iv)?, decode(sealed.tag)?);
        if iv.len() != 32 || tag.len() != 16 {
            return Err(CipherError::Tampered);
        }
        self.0
            .decrypt_in_place_detached(
                GenericArray::from_slice(&iv),
                path.as_bytes(),
                &mut bytes,
                GenericArray::from_slice(&tag),
            )
            .map_err(|_| CipherError::Tampered)?;
        Ok(PlainValue { bytes, kind: sealed.kind })
    }
}

struct Sealed<'a> {
    data: &'a str,
    iv: &'a str,
    tag: &'a str,
    kind: &'a str,
}

impl<'a> Sealed<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, rest) = inner.split_once(",iv:")?;
        let (iv, rest) = rest.split_once(",tag:")?;
        let (tag, kind) = rest.split_once(",type:")?;
        Some(Self { data, iv, tag, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_encrypted_is_told_apart_from_what_is_broken() {
        let key = DataKey::new(&Secret::new(vec![7; 32])).unwrap();
        assert_eq!(key.decrypt("plain", "a:").err(), Some(CipherError::NotEncrypted));
        let broken = "ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]";
        assert_eq!(key.decrypt(broken, "a:").err(), Some(CipherError::Tampered));
        assert!(key.decrypt("", "a:").unwrap().bytes.is_empty());
        assert!(DataKey::new(&Secret::new(vec![7; 31])).is_none());
    }
}
