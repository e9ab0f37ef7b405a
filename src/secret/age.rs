//! SSH host keys, and the age recipients and identities that follow from them.
//!
//! An ed25519 key pair and an X25519 key pair are two views of one secret: the
//! identity is the first half of the SHA-512 of the SSH seed, the recipient is
//! the Montgomery form of the public point (as ssh-to-age does it). So a machine
//! that does not exist yet can be given secrets: its SSH host key is made here,
//! its recipient goes into `.sops.yaml`, and sops-nix on the machine derives the
//! identity again. Invariant: private halves only ever leave as [`Secret`].

use std::fmt;
use std::io::{Read, Write};

use ::age::armor::{ArmoredReader, ArmoredWriter, Format};
use ::age::secrecy::ExposeSecret;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha512};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::Secret;
use crate::error::{Advice, Exit};

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("not an OpenSSH private key: {0}")]
    Private(ssh_key::Error),
    #[error("not an OpenSSH public key: {0}")]
    Public(ssh_key::Error),
    #[error("this is an {0} key: only ed25519 keys have an age form")]
    Algorithm(String),
    #[error("the private key is protected by a passphrase, which a host key must not be")]
    Passphrase,
    #[error(
        "the public key is not a usable point of the curve: nobody could hold its private half"
    )]
    WeakPoint,
    #[error("{0:?} is not an age recipient: {1}")]
    Recipient(String, String),
    #[error("not an age identity: {0}")]
    Identity(&'static str),
    #[error("the key could not be made: {0}")]
    Make(ssh_key::Error),
    #[error("encrypting to {recipient} failed: {reason}")]
    Seal { recipient: String, reason: String },
}

impl Advice for KeyError {
    fn hint(&self) -> String {
        match self {
            Self::Private(_) | Self::Make(_) => "Make one with: ssh-keygen -t ed25519 -N '' -f FILE".into(),
            Self::Public(_) => "It is one line, for example: ssh-ed25519 AAAA… root@host".into(),
            Self::Algorithm(_) => {
                "Use the host's ssh_host_ed25519_key, or make one: ssh-keygen -t ed25519 -N '' -f FILE".into()
            }
            Self::Passphrase => "Take it off a copy: ssh-keygen -p -N '' -f COPY".into(),
            Self::WeakPoint => "Ask for the host's real key, over a way you trust.".into(),
            Self::Recipient(..) => "It is age1 and 58 letters and digits; `landfall keys to-age FILE` prints a host's.".into(),
            Self::Identity(_) => "It is one line: AGE-SECRET-KEY-1 and 58 capital letters and digits.".into(),
            Self::Seal { .. } => "Correct this recipient in .sops.yaml, then run the same command again.".into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// An X25519 age recipient (`age1…`): what a host's secrets are encrypted to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipient(String);

impl Recipient {
    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        text.parse::<::age::x25519::Recipient>()
            .map_err(|reason| KeyError::Recipient(text.to_owned(), reason.to_owned()))?;
        Ok(Self(text.to_owned()))
    }

    /// The recipient of an SSH public key line (`ssh-ed25519 AAAA… comment`).
    pub(crate) fn from_ssh_public(line: &str) -> Result<Self, KeyError> {
        let key = PublicKey::from_openssh(line.trim()).map_err(KeyError::Public)?;
        Self::from_public_key(&key)
    }

    fn from_public_key(key: &PublicKey) -> Result<Self, KeyError> {
        let Some(point) = key.key_data().ed25519() else {
            return Err(KeyError::Algorithm(key.algorithm().to_string()));
        };
        let point = VerifyingKey::from_bytes(&point.0).map_err(|_| KeyError::WeakPoint)?;
        if point.is_weak() {
            return Err(KeyError::WeakPoint);
        }
        let bytes = point.to_montgomery().to_bytes();
        let hrp = bech32::Hrp::parse_unchecked("age");
        let text = bech32::encode::<bech32::Bech32>(hrp, &bytes);
        Ok(Self(text.map_err(|e| KeyError::Recipient(key.comment().to_owned(), e.to_string()))?))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An X25519 age identity: the private half of a [`Recipient`].
#[derive(Clone)]
pub struct Identity {
    text: Secret,
    key: ::age::x25519::Identity,
}

impl Identity {
    pub fn generate() -> Self {
        let key = ::age::x25519::Identity::generate();
        Self { text: Secret::from(key.to_string().expose_secret().to_owned()), key }
    }

    /// Parses one `AGE-SECRET-KEY-1…`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let key = text.trim().parse().map_err(KeyError::Identity)?;
        Ok(Self { text: Secret::from(text.trim().to_owned()), key })
    }

    pub fn recipient(&self) -> Recipient {
        Recipient(self.key.to_public().to_string())
    }

    /// `AGE-SECRET-KEY-1…`, one line without a newline.
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// The content of a key file as age-keygen writes it.
    pub fn key_file(&self) -> Secret {
        let text = self.text.expose_str().unwrap_or_default();
        Secret::from(format!("# public key: {}\n{text}\n", self.recipient()))
    }

    pub(crate) fn key(&self) -> &::age::x25519::Identity {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

/// An ed25519 SSH host key pair without passphrase.
pub struct HostKeyPair(PrivateKey);

impl HostKeyPair {
    /// Makes a key from the operating system's random numbers.
    pub fn generate(comment: &str) -> Result<Self, KeyError> {
        let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(KeyError::Make)?;
        key.set_comment(comment);
        Ok(Self(key))
    }

    /// Parses an OpenSSH private key; refuses other algorithms and passphrases.
    pub fn parse(openssh: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::from_openssh(openssh).map_err(KeyError::Private)?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(KeyError::Algorithm(key.algorithm().to_string()));
        }
        if key.is_encrypted() {
            return Err(KeyError::Passphrase);
        }
        Ok(Self(key))
    }

    /// The private key file's content, OpenSSH format, with a final newline.
    pub fn private_openssh(&self) -> Result<Secret, KeyError> {
        let text = self.0.to_openssh(LineEnding::LF).map_err(KeyError::Make)?;
        Ok(Secret::from(text.as_str().to_owned()))
    }

    /// `ssh-ed25519 AAAA… comment`, without a newline.
    pub fn public_openssh(&self) -> Result<String, KeyError> {
        self.0.public_key().to_openssh().map_err(KeyError::Make)
    }

    /// `SHA256:…` as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub fn recipient(&self) -> Result<Recipient, KeyError> {
        Recipient::from_public_key(self.0.public_key())
    }

    pub fn identity(&self) -> Result<Identity, KeyError> {
        let Some(pair) = self.0.key_data().ed25519() else {
            return Err(KeyError::Algorithm(self.0.algorithm().to_string()));
        };
        let seed = Zeroizing::new(pair.private.to_bytes());
        let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(&seed[..])));
        let hrp = bech32::Hrp::parse_unchecked("age-secret-key-");
        let text = bech32::encode_upper::<bech32::Bech32>(hrp, &hash[..32]);
        Identity::parse(&Zeroizing::new(text.map_err(|_| KeyError::Identity("too long"))?))
    }
}

impl fmt::Debug for HostKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

/// Encrypts `plaintext` to one recipient, as an armored age file.
///
/// Recipients are X25519 (`age1…`) or `ssh-ed25519 AAAA…`; others are refused
/// (see `RecipientKind` of the encrypted files).
pub(crate) fn seal(recipient: &str, plaintext: &Secret) -> Result<String, KeyError> {
    let failed = |reason: String| KeyError::Seal { recipient: recipient.to_owned(), reason };
    if let Ok(key) = recipient.parse::<::age::x25519::Recipient>() {
        return seal_to(&key, plaintext).map_err(failed);
    }
    match recipient.parse::<::age::ssh::Recipient>() {
        Ok(key @ ::age::ssh::Recipient::SshEd25519(..)) => seal_to(&key, plaintext).map_err(failed),
        Ok(_) => Err(failed("only ed25519 SSH keys are supported".to_owned())),
        Err(_) => Err(failed("unknown kind of recipient".to_owned())),
    }
}

fn seal_to(recipient: &dyn ::age::Recipient, plaintext: &Secret) -> Result<String, String> {
    let encryptor =
        ::age::Encryptor::with_recipients(std::iter::once(recipient)).map_err(|e| e.to_string())?;
    let write = || -> std::io::Result<Vec<u8>> {
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(plaintext.expose())?;
        writer.finish()?.finish()
    };
    let armored = write().map_err(|e| e.to_string())?;
    String::from_utf8(armored).map_err(|e| e.to_string())
}

/// Opens an armored age file; `None` when none of the identities fits or the file is broken.
pub(crate) fn open(armored: &str, identities: &[&dyn ::age::Identity]) -> Option<Secret> {
    let decryptor = ::age::Decryptor::new(ArmoredReader::new(armored.as_bytes())).ok()?;
    let mut reader = decryptor.decrypt(identities.iter().copied()).ok()?;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(64));
    reader.read_to_end(&mut plaintext).ok()?;
    Some(Secret::new(plaintext.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The pair printed in ssh-to-age's documentation.
    const PUBLISHED_IDENTITY: &str =
        "AGE-SECRET-KEY-1K3VN4N03PTHJWSJSCCMQCN33RY5FSKQPJ4KRRTG3JMQUYE0TUSEQEDH6V8";
    const PUBLISHED_RECIPIENT: &str =
        "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";
    const PUBLISHED_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOHz+U0YtjINc54dZiJNclfmEFifF7RXCFlNlTbuZBji joerg@turingmachine";

    #[test]
    fn published_vectors() {
        let identity = Identity::parse(PUBLISHED_IDENTITY).unwrap();
        assert_eq!(identity.recipient().as_str(), PUBLISHED_RECIPIENT);
        assert_eq!(
            Recipient::from_ssh_public(PUBLISHED_PUBLIC).unwrap().as_str(),
            PUBLISHED_RECIPIENT
        );
    }

    #[test]
    fn a_made_key_has_matching_halves() {
        let key = HostKeyPair::generate("root@blank").unwrap();
        let identity = key.identity().unwrap();
        assert_eq!(identity.recipient(), key.recipient().unwrap());
        let again =
            HostKeyPair::parse(key.private_openssh().unwrap().expose_str().unwrap()).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert_eq!(again.identity().unwrap().text(), identity.text());
        let sealed =
            seal(key.recipient().unwrap().as_str(), &Secret::from("data key".to_owned())).unwrap();
        assert_eq!(open(&sealed, &[identity.key()]).unwrap().expose(), b"data key");
        assert!(open(&sealed, &[Identity::generate().key()]).is_none());
    }

    #[test]
    fn other_keys_are_refused_with_the_reason() {
        let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCxO38tKAJXIs9ivPxt7AYdfUSibx7v8D1rpFAVx0mzhF7gUZZrYJjA0s5rQjYKFy0vr2Tl4o8CsWzmzM5rYPIUKXQFzwLCMrZr3zUgkxVqxF3hTqp1RXIy27DdDMFvwxaQmMyGKq8JKRRDNyuSyMWtcG8XyAoCCHxxcRXFsw== x";
        let error = Recipient::from_ssh_public(rsa).unwrap_err().to_string();
        assert!(error.contains("public key") || error.contains("only ed25519"), "{error}");
        assert!(Recipient::parse("age1notakey").is_err());
        assert!(Recipient::parse("AGE-SECRET-KEY-1XX").is_err());
        assert!(HostKeyPair::parse("nothing").unwrap_err().hint().contains("ssh-keygen"));
    }
}
