//! Where the sources are that this program was built from.

use std::path::Path;

/// Returns the root of this repository's checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
