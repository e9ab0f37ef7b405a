# What runs between the initrd and systemd.
{ lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines;
in
{
  options.boot = {
    postBootCommands = lines "Shell commands just before systemd starts.";
    readOnlyNixStore = bool true "Whether only nix can write to the store.";
    nixStoreMountOpts = mkOption {
      type = types.listOf types.nonEmptyStr;
      default = [
        "ro"
        "nodev"
        "nosuid"
      ];
      description = "Mount options of the store.";
    };
    isContainer = bool false "Whether the system is a container.";
  };
}
