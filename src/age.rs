//! SSH host keys as age recipients and identities.
