# `import nixpkgs { … }`: the package set.
{
  system ? builtins.currentSystem,
  localSystem ? { inherit system; },
  config ? { },
  overlays ? [ ],
}:
import ./pkgs {
  lib = import ./lib;
  system = localSystem.system or localSystem;
  inherit config overlays;
  # What the lab's set-up found in the store: names, paths and hashes of Debian's parts.
  base = builtins.fromJSON (builtins.readFile ./base.json);
}
