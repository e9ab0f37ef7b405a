//! No text makes re-encryption panic, and what it returns has exactly the wanted
//! recipients and the same values.
//!
//! The seeds are files that sops made for [`IDENTITY`], so that what is made of them
//! gets past the first recipient.
#![no_main]

use landfall::secret::age::Identity;
use landfall::sops::file::EncryptedFile;
use landfall::sops::file::format::Format;
use landfall::sops::proof::identities::Identities;
use landfall::sops::file::rekey::{Rekeyed, rekey};
use libfuzzer_sys::fuzz_target;

/// Opens the seeds and nothing else in the world.
const IDENTITY: &str = "AGE-SECRET-KEY-1859UJMUTXY8EMJ8Y5AR99ZNLF2NNK5N2XVG9P62FRAVVTWRWUXHSKCN6US";
const OTHER: &str = "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";

type Values = Vec<(Vec<String>, Vec<u8>)>;

fn values(text: &str, format: Format) -> Values {
    let key: age::x25519::Identity = IDENTITY.parse().expect("an identity");
    let file = EncryptedFile::parse(text, format).expect("it parses");
    let data_key = file.data_key(&[&key]).expect("it opens");
    let mut values = Vec::new();
    let note = |path: &[&str], value: &[u8]| {
        values.push((path.iter().map(|part| (*part).to_owned()).collect(), value.to_vec()));
    };
    file.decrypt(&data_key, note).expect("it verifies");
    values
}

fuzz_target!(|text: &str| {
    let own = Identity::parse(IDENTITY).expect("an identity");
    let recipient = own.recipient().to_string();
    let operator = Identities::only(own);
    for format in [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary] {
        let wanted = [recipient.as_str(), OTHER];
        let Ok(Rekeyed::Changed(after)) = rekey(text, format, &wanted, &operator) else {
            continue;
        };
        assert_eq!(values(text, format), values(&after, format));
        let again = rekey(&after, format, &wanted, &operator);
        assert!(matches!(again, Ok(Rekeyed::UpToDate)), "{again:?}");
        let back = rekey(&after, format, &[&recipient], &operator);
        assert!(matches!(back, Ok(Rekeyed::Changed(_))), "{back:?}");
    }
});
