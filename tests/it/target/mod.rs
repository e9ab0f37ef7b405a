//! What an installed machine is made of.

mod passphrase;
