# systemd in the initrd, and the units that a configuration adds to it.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool nullOr;
  inherit (utils) systemdUtils;
  inherit (systemdUtils) unitOptions;
  cfg = config.boot.initrd.systemd;

  units =
    options: description:
    mkOption {
      type = types.attrsOf (types.submodule { inherit options; });
      default = { };
      inherit description;
    };
  # With the initrd's own shell: nothing but the script itself has to be carried.
  writeProgram = name: text: pkgs.writeScript name "#!/bin/sh -e\n${text}";
  named =
    suffix: toUnit:
    lib.mapAttrs' (name: unit: lib.nameValuePair "${name}.${suffix}" (toUnit name unit));

  packages =
    description:
    mkOption {
      type = types.listOf types.package;
      default = [ ];
      inherit description;
    };
in
{
  options.boot.initrd.systemd = {
    enable = bool true "Whether systemd runs in the initrd.";
    units = mkOption {
      type = types.attrsOf types.raw;
      internal = true;
      default = { };
      description = "Units of the initrd as text.";
    };
    services = units unitOptions.service "Services of the initrd.";
    sockets = units unitOptions.socket "Sockets of the initrd.";
    targets = units unitOptions.common "Targets of the initrd.";
    mounts = mkOption {
      type = types.listOf (types.submodule { options = unitOptions.mount; });
      default = [ ];
      description = "Mounts of the initrd.";
    };
    emergencyAccess = mkOption {
      type = types.oneOf [
        types.bool
        (types.nullOr (types.passwdEntry types.str))
      ];
      default = false;
      description = "Whether a failing initrd opens a shell: no, without a password, or the hash of one.";
    };
    initrdBin = packages "Packages whose programs are in the initrd.";
    extraBin = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = "Programs of the initrd, by name.";
    };
    storePaths = mkOption {
      type = types.listOf (types.either types.singleLineStr types.package);
      default = [ ];
      description = "Store paths that the initrd holds.";
    };
    contents = mkOption {
      type = types.attrsOf (
        types.submodule {
          options = {
            text = nullOr types.lines "What the file holds.";
            source = nullOr types.path "The file.";
          };
        }
      );
      default = { };
      description = "Files of the initrd.";
    };
    network.enable = bool config.boot.initrd.network.enable "Whether systemd-networkd runs in the initrd.";
    tpm2.enable = bool false "Whether the initrd uses a TPM.";
    settings.Manager = unitOptions.section;
  };

  config = lib.mkIf cfg.enable {
    boot.initrd.systemd = {
      units =
        named "service" (systemdUtils.serviceToUnit writeProgram) cfg.services
        // named "socket" systemdUtils.socketToUnit cfg.sockets
        // named "target" systemdUtils.targetToUnit cfg.targets
        // lib.listToAttrs (
          map (
            unit:
            let
              name = "${utils.escapeSystemdPath unit.where}.mount";
            in
            lib.nameValuePair name (systemdUtils.mountToUnit name unit)
          ) cfg.mounts
        );
      storePaths = lib.concatLists (
        lib.mapAttrsToList (systemdUtils.scriptsOf writeProgram) cfg.services
      );
      initrdBin = [
        pkgs.bashInteractive
        pkgs.coreutils
        pkgs.util-linux
      ]
      ++ config.system.fsPackages;
    };
  };
}
