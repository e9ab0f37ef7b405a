//! `.sops.yaml`, encrypted files, and the proof that they open.
