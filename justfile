# What contributors run; `just` alone lists it. Everything here is cargo or cargo xtask with less to type.

[private]
default:
    @just --list --unsorted

# The program, for trying it out
build:
    cargo build

# Whether it compiles, tests included
check:
    cargo check --workspace --all-targets

# Format the Rust sources
fmt:
    cargo fmt --all

# The lints, as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation of the code
doc:
    cargo doc --workspace --no-deps

# Tests whose name has NAME in it, inside the lab
one NAME:
    cargo xtask lab enter -- cargo nextest run --workspace -E 'test({{ NAME }})'

# Checks and all tests that need no virtual machine
fast:
    cargo xtask test --fast

# The same, the core journeys, and today's share of the others
test:
    cargo xtask test

# The same, and every journey: hours
all:
    cargo xtask test --all

# One journey in a virtual machine, by name
journey NAME:
    cargo xtask test --journey {{ NAME }}

# The whole journey with its proof; `just demo --keep` leaves the machine on
demo *ARGS:
    cargo xtask demo {{ ARGS }}

# Make the lab, or bring it up to date
lab:
    cargo xtask lab setup

# A shell, or a command, where nix, sops and /nix are there
enter *COMMAND:
    cargo xtask lab enter -- {{ if COMMAND == "" { "bash" } else { COMMAND } }}

# Tests of the lab's stand-ins for nixpkgs, disko and sops-nix
lab-test:
    cargo xtask lab enter -- lab/tests/run.sh

# What the dependencies may be
deny:
    cargo deny --workspace check bans licenses sources

# Feed one parser (rules, file, rekey) with what nobody thought of; wants nightly and cargo-fuzz
fuzz TARGET *ARGS:
    mkdir -p fuzz/corpus/{{ TARGET }} fuzz/seeds/{{ TARGET }}
    cargo +nightly fuzz run {{ TARGET }} fuzz/corpus/{{ TARGET }} fuzz/seeds/{{ TARGET }} {{ ARGS }}
