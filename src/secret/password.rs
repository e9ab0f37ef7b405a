//! Passwords of accounts: made up, and hashed as `hashedPasswordFile` wants them.
//!
//! The hash is yescrypt in crypt(3)'s form (`$y$…`), what NixOS's own `mkpasswd`
//! makes. Password and hash alike are [`Secret`]s.

use rand::RngExt;
use yescrypt::{PasswordHasher, Yescrypt};

use super::Secret;

/// Without characters that look alike or lie elsewhere on other keyboards.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwx23456789";
const GROUPS: usize = 4;
const GROUP_LENGTH: usize = 5;

/// A random password of 98 bits that can be typed at a console.
pub(crate) fn generate() -> Secret {
    let mut rng = rand::rng();
    let mut password = String::with_capacity(GROUPS * (GROUP_LENGTH + 1));
    for group in 0..GROUPS {
        if group > 0 {
            password.push('-');
        }
        for _ in 0..GROUP_LENGTH {
            password.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
        }
    }
    Secret::from(password)
}

/// The crypt(3) hash of `password`, with a new salt.
pub fn hash(password: &Secret) -> Result<Secret, yescrypt::password_hash::Error> {
    let hash = Yescrypt::default().hash_password(password.expose())?;
    Ok(Secret::from(hash.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn passwords_are_long_and_differ() {
        let first = generate();
        assert_eq!(first.expose().len(), GROUPS * (GROUP_LENGTH + 1) - 1);
        assert_ne!(first, generate());
    }

    /// The machine's libcrypt, reached through perl, is what checks a login.
    #[test]
    fn libcrypt_accepts_the_hash() {
        let hash = hash(&Secret::from("correct horse, battery".to_owned())).unwrap();
        let hash = hash.expose_str().unwrap();
        assert!(hash.starts_with("$y$"), "{hash}");
        let again = Cmd::new("perl")
            .args(["-e", r#"print crypt("correct horse, battery", $ARGV[0])"#, hash])
            .run()
            .unwrap();
        assert_eq!(String::from_utf8(again.stdout).unwrap(), hash);
    }
}
