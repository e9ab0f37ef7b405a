//! OpenSSH: one master per machine and boot, pinned host keys.
