# The package set: Debian's components under the names of nixpkgs, and nixpkgs' trivial builders.
#
# Components are in the store before anything is evaluated (lab/base/import.sh); base tells their
# paths and hashes. Building needs no network, neither here nor on a guest.
{
  lib,
  system,
  config ? { },
  overlays ? [ ],
  base,
}:
let
  components = import ./components.nix { inherit system base; };

  names = import ./names.nix;

  platform = lib.systems.elaborate system;

  packages =
    final:
    {
      inherit lib system config components;
      debianNames = names;
      pkgs = final;
      stdenv = {
        inherit system;
        hostPlatform = platform;
        buildPlatform = platform;
        targetPlatform = platform;
        shell = "${final.bash}/bin/bash";
      };
      stdenvNoCC = final.stdenv;
      callPackage = lib.callPackageWith final;
      nixVersions = {
        stable = final.nix;
        latest = final.nix;
      };
      linuxPackages.kernel = final.linux;
      linuxPackages_latest = final.linuxPackages;
      linux = components.linux-kernel // {
        modules = components.linux-modules;
        version = components.linux-kernel.version;
      };
    }
    // builtins.mapAttrs (_: name: components.${name}) names
    // import ./builders.nix { inherit lib system; pkgs = final; };

  extend =
    previous: overlay: final:
    let
      before = previous final;
    in
    before // overlay final before;
in
lib.fix (builtins.foldl' extend packages overlays)
