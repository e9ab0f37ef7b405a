# All evaluation tests. A test is { expr, expected } or { expr, error = part of the message }.
let
  nixpkgs = ../nixpkgs;
  lib = import (nixpkgs + "/lib");

  evalConfig =
    modules: import (nixpkgs + "/nixos/lib/eval-config.nix") { inherit lib modules; };

  args = {
    inherit lib evalConfig nixpkgs;
    disko = ../disko/module.nix;
    sops = ../sops-nix/module.nix;
    templates = ../../templates;

    # The smallest configuration that passes its own checks.
    bootable = {
      nixpkgs.hostPlatform = "x86_64-linux";
      system.stateVersion = "26.05";
      boot.loader.systemd-boot.enable = true;
      fileSystems."/" = {
        device = "/dev/vda2";
        fsType = "ext4";
      };
      fileSystems."/boot" = {
        device = "/dev/vda1";
        fsType = "vfat";
      };
    };
  };

  groups = {
    module-system = import ./module-system.nix args;
    nixos = import ./nixos.nix args;
    disko = import ./disko.nix args;
    sops = import ./sops.nix args;
    templates = import ./templates.nix args;
  };

  tests = lib.concatMapAttrs (
    group: lib.mapAttrs' (name: test: lib.nameValuePair "${group}-${name}" test)
  ) groups;
  values = lib.filterAttrs (_: test: test ? expected) tests;
  errors = lib.filterAttrs (_: test: test ? error) tests;
in
{
  inherit errors;

  report = {
    values = lib.mapAttrsToList (name: test: {
      inherit name;
      ok = test.expr == test.expected;
      actual = if test.expr == test.expected then null else test.expr;
    }) values;
    errors = lib.mapAttrsToList (name: test: {
      inherit name;
      pattern = test.error;
    }) errors;
  };
}
