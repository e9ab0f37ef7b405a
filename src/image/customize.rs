//! What one copy of the installer image is given, without building it again.
//!
//! The image has a file, `landfall/custom`, that is nothing but room: 64 KiB in lines of one
//! known text. In an ISO 9660 image a file lies in one piece, so a copy is customized by
//! writing over that piece; what makes the image start, from BIOS and from UEFI, is not
//! touched. The installer reads the file when it starts (nixos-installer/iso/default.nix).
//! So a secret is in the copy alone, and never in the nix store.
//!
//! The file then holds `MAGIC` on a line, and for each part a line `part NAME LENGTH`,
//! as many bytes, and a line end; the rest is room as before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::wifi::Profile;
use crate::error::{Advice, Exit};
use crate::secret::Secret;
use crate::secret::age::{HostKey as HostKeyPair, KeyError};

/// One line of the room.
const ROOM: &[u8; 64] = b"landfall keeps this room for what one copy of an image is given\n";
const LINES: usize = 1024;
/// What the file begins with in a copy that was given something.
const MAGIC: &[u8] = b"landfall-custom-1\n";
/// ISO 9660 puts a file at the beginning of one.
const SECTOR: usize = 2048;

/// What a copy is given.
#[derive(Debug)]
pub struct Custom {
    /// With this key the installer answers, each time it starts.
    pub host_key: HostKeyPair,
    /// Lines of an authorized_keys file: who may log in as root, beside those in the image.
    pub authorized_keys: String,
    /// The installer joins them by itself.
    pub networks: Vec<Profile>,
}

#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    #[error("{} cannot be read or written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has no room for anything of its own", .0.display())]
    NoRoom(PathBuf),
    #[error("{} was given something before", .0.display())]
    Customized(PathBuf),
    #[error("it is {bytes} bytes too long for the room in the image")]
    TooLong { bytes: usize },
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Advice for IsoError {
    fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "Check the path, its permissions and the free space.".into(),
            Self::NoRoom(_) => {
                "The installer's configuration has to make it: see landfall/custom in \
                 nixos-installer/iso/default.nix, as `landfall init` writes it."
                    .into()
            }
            Self::Customized(_) => {
                "Each copy is made of the image as it was built: leave --image out, or name that."
                    .into()
            }
            Self::TooLong { .. } => "Give fewer keys, or fewer networks.".into(),
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

/// Writes a copy of `image`, readable by its owner alone, that has `custom`.
pub fn customize(image: &Path, output: &Path, custom: &Custom) -> Result<(), IsoError> {
    let reading = io_at(image);
    let mut original = File::open(image).map_err(&reading)?;
    let place = match find(&mut original).map_err(&reading)? {
        Place::Room(offset) => offset,
        Place::Taken => return Err(IsoError::Customized(image.to_owned())),
        Place::Nowhere => return Err(IsoError::NoRoom(image.to_owned())),
    };
    let content = content(custom)?;

    let writing = io_at(output);
    let folder =
        output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A private key is in it: it is never, not even for a moment, for others to read.
    let mut copy =
        tempfile::Builder::new().prefix(".landfall-iso-").tempfile_in(folder).map_err(&writing)?;
    original.seek(SeekFrom::Start(0)).map_err(&reading)?;
    io::copy(&mut original, &mut copy).map_err(&writing)?;
    copy.seek(SeekFrom::Start(place)).map_err(&writing)?;
    copy.write_all(content.expose()).map_err(&writing)?;
    copy.as_file().sync_all().map_err(&writing)?;
    copy.persist(output).map_err(|error| writing(error.error))?;
    Ok(())
}

/// Whether a file can be made at `output`: asked before a long build.
pub fn check_output(output: &Path) -> Result<(), IsoError> {
    let probe = output.with_extension("landfall-probe");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(io_at(output))
}

enum Place {
    /// Where the room begins.
    Room(u64),
    Taken,
    Nowhere,
}

/// Looks for the room at the beginning of each sector.
fn find(image: &mut File) -> io::Result<Place> {
    let room = ROOM.repeat(LINES);
    let mut chunk = vec![0; 512 * SECTOR];
    let mut offset = 0;
    loop {
        image.seek(SeekFrom::Start(offset))?;
        let length = read_up_to(image, &mut chunk)?;
        if length == 0 {
            return Ok(Place::Nowhere);
        }
        for (index, sector) in chunk[..length].chunks(SECTOR).enumerate() {
            if sector.starts_with(MAGIC) {
                return Ok(Place::Taken);
            }
            if sector.starts_with(ROOM) {
                let at = offset + (index * SECTOR) as u64;
                let mut whole = vec![0; room.len()];
                image.seek(SeekFrom::Start(at))?;
                if read_up_to(image, &mut whole)? == whole.len() && whole == room {
                    return Ok(Place::Room(at));
                }
            }
        }
        offset += length as u64;
    }
}

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

/// The file as the installer reads it, as long as the room.
fn content(custom: &Custom) -> Result<Secret, IsoError> {
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
    let room = ROOM.len() * LINES;
    // A line of the room follows, which is no part.
    if bytes.len() + ROOM.len() > room {
        return Err(IsoError::TooLong { bytes: bytes.len() + ROOM.len() - room });
    }
    let filler = ROOM.iter().copied().cycle().take(room - bytes.len()).collect::<Vec<u8>>();
    bytes.extend_from_slice(&filler);
    Ok(Secret::new(bytes))
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> IsoError + '_ {
    move |source| IsoError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    fn custom() -> Custom {
        Custom {
            host_key: HostKeyPair::generate("root@installer").unwrap(),
            authorized_keys: "ssh-ed25519 AAAAC3 anna\n".into(),
            networks: vec![Profile {
                name: "home".into(),
                keyfile: b"[connection]\n".to_vec().into(),
            }],
        }
    }

    fn image(dir: &Path, room_at: u64) -> PathBuf {
        let path = dir.join("image.iso");
        let file = File::create(&path).unwrap();
        file.set_len(5 << 20).unwrap();
        // The text alone is not the room.
        file.write_all_at(ROOM, 4096).unwrap();
        file.write_all_at(&ROOM.repeat(LINES), room_at).unwrap();
        path
    }

    #[test]
    fn a_copy_differs_from_its_image_in_the_room_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (custom, output) = (custom(), dir.path().join("copy.iso"));
        // Across the border of what is read at once.
        let at = (512 * SECTOR - 3 * SECTOR) as u64;
        let image = image(dir.path(), at);
        let before = std::fs::read(&image).unwrap();
        customize(&image, &output, &custom).unwrap();
        let copy = std::fs::read(&output).unwrap();
        assert!(std::fs::read(&image).unwrap() == before, "the image was changed");
        let (start, end) = (at as usize, at as usize + 65536);
        assert!(copy[..start] == before[..start] && copy[end..] == before[end..]);
        let room = String::from_utf8(copy[start..end].to_vec()).unwrap();
        assert!(room.starts_with("landfall-custom-1\npart ssh_host_ed25519_key "));
        assert!(room.contains(
            "\npart authorized_keys 24\nssh-ed25519 AAAAC3 anna\n\n\
             part wifi-1.nmconnection 13\n[connection]\n\nlandfall "
        ));
        assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);

        let again = customize(&output, &dir.path().join("again.iso"), &custom);
        assert!(matches!(again, Err(IsoError::Customized(_))));
    }

    #[test]
    fn an_image_without_room_and_too_many_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let image = image(dir.path(), 8192);
        let output = dir.path().join("copy.iso");
        let long = Custom { authorized_keys: "x".repeat(65536), ..custom() };
        assert!(matches!(customize(&image, &output, &long), Err(IsoError::TooLong { .. })));
        File::options().write(true).open(&image).unwrap().write_all_at(b"x", 9000).unwrap();
        assert!(matches!(customize(&image, &output, &custom()), Err(IsoError::NoRoom(_))));
        assert!(!output.exists());
    }
}
