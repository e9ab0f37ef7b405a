# What runs between the initrd and systemd.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot = {
    postBootCommands = mkOption {
      type = types.lines;
      default = "";
      description = "Shell commands just before systemd starts.";
    };
    readOnlyNixStore = mkOption {
      type = types.bool;
      default = true;
      description = "Whether only nix can write to the store.";
    };
    nixStoreMountOpts = mkOption {
      type = types.listOf types.nonEmptyStr;
      default = [
        "ro"
        "nodev"
        "nosuid"
      ];
      description = "Mount options of the store.";
    };
    isContainer = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the system is a container.";
    };
  };
}
