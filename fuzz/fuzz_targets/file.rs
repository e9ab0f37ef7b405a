//! No text makes the parsers of encrypted files panic, in any format.
#![no_main]

use landfall::sops::file::EncryptedFile;
use landfall::sops::format::Format;
use landfall::sops::metadata::Wrapped;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let wrapped = [Wrapped { recipient: "age1x".into(), enc: "-----BEGIN\nx\n".into() }];
    for format in [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary] {
        let Ok(file) = EncryptedFile::parse(text, format) else { continue };
        let _ = file.has_path(&["a"]);
        let _ = file.with_recipients(&wrapped);
    }
});
