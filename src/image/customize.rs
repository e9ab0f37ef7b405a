//! Customizes a copy of the installer image without building it again.
//!
//! The image reserves an embed area: the file `landfall/custom`, 64 KiB of one repeated line.
//! A file in an ISO 9660 image is contiguous, so the area is overwritten in place, and the boot
//! code for BIOS and UEFI stays as it was. The installer reads the file when it boots
//! (nixos-installer/iso/default.nix of the templates). Secrets are therefore in the copy alone,
//! never in the nix store.
//!
//! Format of a customized area: the line `landfall-custom-1`; for each part a line
//! `part NAME LENGTH`, as many bytes, and a newline; the repeated line up to 64 KiB.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::wifi::Profile;
use crate::error::{Advice, Exit};
use crate::secret::Secret;
use crate::secret::age::{HostKeyPair, KeyError};

/// The line that an embed area repeats. Images that are already built contain it.
const FILLER: &[u8; 64] = b"landfall keeps this room for what one copy of an image is given\n";
const FILLER_LINES: usize = 1024;
/// The first line of an embed area that is in use.
const MAGIC: &[u8] = b"landfall-custom-1\n";
/// Files in an ISO 9660 image begin at a multiple of this, in bytes.
const SECTOR: usize = 2048;

/// What is embedded in a copy of the image.
#[derive(Debug)]
pub(crate) struct Customization {
    /// The host key of the installer's sshd, the same at every boot.
    pub(crate) host_key: HostKeyPair,
    /// Lines of an authorized_keys file for root, in addition to those in the image.
    pub(crate) authorized_keys: String,
    /// Wi-Fi networks that the installer joins by itself.
    pub(crate) networks: Vec<Profile>,
}

/// Why a customized copy was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CustomizeError {
    #[error("{} cannot be read or written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has no area reserved for customization", .0.display())]
    NoEmbedArea(PathBuf),
    #[error("{} is already customized", .0.display())]
    AlreadyCustomized(PathBuf),
    #[error("the customization is {excess} bytes too long for the area that the image reserves")]
    TooLong { excess: usize },
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Advice for CustomizeError {
    fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "Check the path, its permissions and the free space.".into(),
            Self::NoEmbedArea(_) => {
                "The installer's configuration reserves it: see landfall/custom in \
                 nixos-installer/iso/default.nix, as `landfall init` writes it."
                    .into()
            }
            Self::AlreadyCustomized(_) => {
                "Customize the image as it was built: name it with --image, or leave --image out."
                    .into()
            }
            Self::TooLong { .. } => "Give fewer SSH keys or Wi-Fi networks.".into(),
            Self::Key(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Io { .. } => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// Writes a copy of `image` with `custom` embedded to `output`, atomically and with mode 0600.
pub(crate) fn customize(
    image: &Path,
    output: &Path,
    custom: &Customization,
) -> Result<(), CustomizeError> {
    let reading = io_at(image);
    let mut original = File::open(image).map_err(&reading)?;
    let offset = match find_embed_area(&mut original).map_err(&reading)? {
        EmbedArea::Unused(offset) => offset,
        EmbedArea::Used => return Err(CustomizeError::AlreadyCustomized(image.to_owned())),
        EmbedArea::Missing => return Err(CustomizeError::NoEmbedArea(image.to_owned())),
    };
    let content = embed_content(custom)?;

    let writing = io_at(output);
    let folder =
        output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The copy holds a private key, so it must not be readable by others even for a moment:
    // temporary files are created with mode 0600.
    let mut copy =
        tempfile::Builder::new().prefix(".landfall-iso-").tempfile_in(folder).map_err(&writing)?;
    original.seek(SeekFrom::Start(0)).map_err(&reading)?;
    io::copy(&mut original, &mut copy).map_err(&writing)?;
    copy.seek(SeekFrom::Start(offset)).map_err(&writing)?;
    copy.write_all(content.expose()).map_err(&writing)?;
    copy.as_file().sync_all().map_err(&writing)?;
    copy.persist(output).map_err(|error| writing(error.error))?;
    Ok(())
}

/// Checks that a file can be created beside `output`, so that a long build is not in vain.
pub(crate) fn check_output(output: &Path) -> Result<(), CustomizeError> {
    let probe = output.with_extension("landfall-probe");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(io_at(output))
}

/// The state of an image's embed area.
enum EmbedArea {
    /// Begins at this offset, in bytes.
    Unused(u64),
    Used,
    Missing,
}

/// Looks for the embed area at the beginning of each sector.
fn find_embed_area(image: &mut File) -> io::Result<EmbedArea> {
    let unused = FILLER.repeat(FILLER_LINES);
    let mut chunk = vec![0; 512 * SECTOR];
    let mut offset = 0;
    loop {
        image.seek(SeekFrom::Start(offset))?;
        let length = read_up_to(image, &mut chunk)?;
        if length == 0 {
            return Ok(EmbedArea::Missing);
        }
        for (index, sector) in chunk[..length].chunks(SECTOR).enumerate() {
            if sector.starts_with(MAGIC) {
                return Ok(EmbedArea::Used);
            }
            if sector.starts_with(FILLER) {
                let at = offset + (index * SECTOR) as u64;
                let mut whole = vec![0; unused.len()];
                image.seek(SeekFrom::Start(at))?;
                if read_up_to(image, &mut whole)? == whole.len() && whole == unused {
                    return Ok(EmbedArea::Unused(at));
                }
            }
        }
        offset += length as u64;
    }
}

/// Fills `bytes` unless the file ends earlier; returns how many were read.
fn read_up_to(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Returns the bytes of a customized embed area.
fn embed_content(custom: &Customization) -> Result<Secret, CustomizeError> {
    let private = custom.host_key.private_openssh()?;
    let public = format!("{}\n", custom.host_key.public_openssh()?);
    let mut parts = vec![
        ("ssh_host_ed25519_key".to_owned(), private.expose()),
        ("ssh_host_ed25519_key.pub".to_owned(), public.as_bytes()),
        ("authorized_keys".to_owned(), custom.authorized_keys.as_bytes()),
    ];
    for (index, network) in custom.networks.iter().enumerate() {
        parts.push((format!("wifi-{}.nmconnection", index + 1), &network.keyfile));
    }
    let mut bytes = MAGIC.to_vec();
    for (name, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
        bytes.extend_from_slice(format!("part {name} {}\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.push(b'\n');
    }
    let area = FILLER.len() * FILLER_LINES;
    // At least one line of filler ends the list of parts.
    if bytes.len() + FILLER.len() > area {
        return Err(CustomizeError::TooLong { excess: bytes.len() + FILLER.len() - area });
    }
    let filler = FILLER.iter().copied().cycle().take(area - bytes.len()).collect::<Vec<u8>>();
    bytes.extend_from_slice(&filler);
    Ok(Secret::new(bytes))
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> CustomizeError + '_ {
    move |source| CustomizeError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    fn custom() -> Customization {
        Customization {
            host_key: HostKeyPair::generate("root@installer").unwrap(),
            authorized_keys: "ssh-ed25519 AAAAC3 anna\n".into(),
            networks: vec![Profile {
                name: "home".into(),
                keyfile: b"[connection]\n".to_vec().into(),
            }],
        }
    }

    fn image(dir: &Path, area_at: u64) -> PathBuf {
        let path = dir.join("image.iso");
        let file = File::create(&path).unwrap();
        file.set_len(5 << 20).unwrap();
        // A single line is not the embed area.
        file.write_all_at(FILLER, 4096).unwrap();
        file.write_all_at(&FILLER.repeat(FILLER_LINES), area_at).unwrap();
        path
    }

    #[test]
    fn a_copy_differs_from_its_image_in_the_embed_area_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (custom, output) = (custom(), dir.path().join("copy.iso"));
        // Across a boundary between two reads.
        let at = (512 * SECTOR - 3 * SECTOR) as u64;
        let image = image(dir.path(), at);
        let before = std::fs::read(&image).unwrap();
        customize(&image, &output, &custom).unwrap();
        let copy = std::fs::read(&output).unwrap();
        assert!(std::fs::read(&image).unwrap() == before, "the image was changed");
        let (start, end) = (at as usize, at as usize + 65536);
        assert!(copy[..start] == before[..start] && copy[end..] == before[end..]);
        let area = String::from_utf8(copy[start..end].to_vec()).unwrap();
        assert!(area.starts_with("landfall-custom-1\npart ssh_host_ed25519_key "));
        assert!(area.contains(
            "\npart authorized_keys 24\nssh-ed25519 AAAAC3 anna\n\n\
             part wifi-1.nmconnection 13\n[connection]\n\nlandfall "
        ));
        assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);

        let again = customize(&output, &dir.path().join("again.iso"), &custom);
        assert!(matches!(again, Err(CustomizeError::AlreadyCustomized(_))));
    }

    #[test]
    fn an_image_without_embed_area_and_too_many_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let image = image(dir.path(), 8192);
        let output = dir.path().join("copy.iso");
        let long = Customization { authorized_keys: "x".repeat(65536), ..custom() };
        assert!(matches!(customize(&image, &output, &long), Err(CustomizeError::TooLong { .. })));
        File::options().write(true).open(&image).unwrap().write_all_at(b"x", 9000).unwrap();
        assert!(matches!(
            customize(&image, &output, &custom()),
            Err(CustomizeError::NoEmbedArea(_))
        ));
        assert!(!output.exists());
    }
}
