//! One file per subcommand.

pub mod log;
pub mod status;
