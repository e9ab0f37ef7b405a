//! Evaluating, building and copying with nix.
