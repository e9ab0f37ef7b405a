//! Repository state, commits of named paths, pushes.
