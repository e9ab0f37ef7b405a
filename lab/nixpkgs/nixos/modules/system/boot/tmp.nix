# /tmp.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool;
  cfg = config.boot.tmp;
in
{
  options.boot.tmp = {
    cleanOnBoot = bool false "Whether /tmp is emptied at boot.";
    useTmpfs = bool false "Whether /tmp lies in memory.";
    tmpfsSize = mkOption {
      type = types.oneOf [
        types.str
        types.ints.positive
      ];
      default = "50%";
      description = "How large it may grow.";
    };
  };

  config = {
    systemd.mounts = lib.mkIf cfg.useTmpfs [
      {
        what = "tmpfs";
        where = "/tmp";
        type = "tmpfs";
        mountConfig.Options = "mode=1777,strictatime,rw,nosuid,nodev,size=${toString cfg.tmpfsSize}";
      }
    ];
    systemd.tmpfiles.rules = lib.optional cfg.cleanOnBoot "D! /tmp 1777 root root";
  };
}
