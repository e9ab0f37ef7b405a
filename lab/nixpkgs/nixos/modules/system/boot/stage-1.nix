# The initrd: its secrets, compression, hooks, and which file systems it mounts.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr string;
  cfg = config.boot.initrd;

  hook =
    name:
    lines "Shell commands of the scripted initrd (${name}).";
  hooks = [
    "preDeviceCommands"
    "postDeviceCommands"
    "preLVMCommands"
    "postResumeCommands"
    "postMountCommands"
    "preFailCommands"
    "extraUtilsCommands"
  ];
  used = lib.filter (name: cfg.${name} != "") hooks;
in
{
  options.boot.initrd = lib.genAttrs hooks hook // {
    enable = bool true "Whether there is an initrd.";
    compressor = mkOption {
      type = types.either types.str (types.functionTo types.str);
      default = "zstd";
      description = "The program that packs the initrd.";
    };
    compressorArgs = nullOr (types.listOf types.str) "Its arguments.";
    verbose = bool true "Whether the initrd tells what it does.";
    secrets = mkOption {
      type = types.attrsOf (types.nullOr types.path);
      default = { };
      description = "Files of the machine that the boot loader's installer adds to the initrd: target to source.";
    };
  };

  options.fileSystems = mkOption {
    type = types.attrsOf (
      types.submodule {
        options.neededForBoot = bool false "Whether the initrd mounts it.";
      }
    );
  };

  options.boot.resumeDevice = string "" "The device that holds a suspended system.";

  config.assertions = [
    {
      assertion = used == [ ] || !cfg.systemd.enable;
      message = "systemd stage 1 does not support ${
        lib.concatMapStringsSep ", " (name: "'boot.initrd.${name}'") used
      }. Please convert it to analogous systemd units in 'boot.initrd.systemd'.";
    }
    {
      assertion = cfg.systemd.enable || !cfg.enable;
      message = "boot.initrd.systemd.enable = false: the miniature nixpkgs has the initrd of systemd only.";
    }
    {
      assertion = lib.all (path: !lib.hasPrefix builtins.storeDir (toString path)) (
        lib.filter (path: path != null) (lib.attrValues cfg.secrets)
      );
      message = "boot.initrd.secrets names a file in the nix store, where everyone can read it. Write the path as a string.";
    }
  ];
}
