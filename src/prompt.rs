//! Questions to a person, or a refusal that names the flag.
