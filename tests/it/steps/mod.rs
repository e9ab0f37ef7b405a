//! Steps that refuse, and the one that may replace a running system.

mod check_source;
mod check_systems;
mod check_target;
mod hardware_report;
mod kept_disks;
mod kexec;
mod passphrase_asked;
