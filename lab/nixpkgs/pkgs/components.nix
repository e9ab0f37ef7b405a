# Components of the base as derivations.
#
# Each is a fixed-output derivation whose output is in the store already: nothing is ever built,
# and whoever copies a closure copies these like any other path. The output is its own input as
# well, so that whoever copies derivations, to build them elsewhere, copies it along: there is no
# cache to take it from. `needs` are the components that a program wants to find in the running
# system's /usr.
{ system, base }:
let
  component =
    name: entry:
    let
      storeName = builtins.substring 33 (-1) (baseNameOf entry.path);
      parsed = builtins.parseDrvName storeName;
    in
    derivation {
      inherit system;
      name = storeName;
      builder = "/bin/sh";
      args = [
        "-c"
        "echo >&2 '${storeName} is no longer in the store: run the lab set-up again, or copy it from there'; exit 1"
      ];
      outputHashMode = "recursive";
      outputHash = entry.hash;
      preferLocalBuild = true;
      itself = builtins.appendContext entry.path { ${entry.path}.path = true; };
    }
    // (if name == "bash" then { shellPath = "/bin/bash"; } else { })
    // {
      pname = name;
      inherit (parsed) version;
      meta.mainProgram = mainPrograms.${name} or name;
      needs = map (dependency: components.${dependency}) entry.depends;
    };

  mainPrograms = {
    nix-bin = "nix";
    openssh = "ssh";
    perl-base = "perl";
    ripgrep = "rg";
  };

  components = builtins.mapAttrs component base;
in
components
