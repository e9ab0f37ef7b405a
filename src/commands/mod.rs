//! One file per subcommand.

pub mod abandon;
pub mod answering;
pub mod bootstrap;
pub mod check;
pub mod host;
pub mod init;
pub mod install;
pub mod installed;
pub mod iso;
pub mod keys;
pub mod log;
pub mod passphrase;
pub mod plan;
pub mod run;
pub mod secrets;
pub mod ssh;
pub mod status;
pub mod sync;
