# systemd: units that the configuration declares. systemd's own units come with the package;
# `systemd.units` holds the text of those declared here.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool nullOr packages string strings;
  inherit (utils.systemdUtils) unitOptions;
  inherit (utils) systemdUtils;
  cfg = config.systemd;

  unitsOf =
    options: extra: description:
    mkOption {
      type = types.attrsOf (types.submodule [ { inherit options; } extra ]);
      default = { };
      inherit description;
    };
  listOfUnits =
    options: description:
    mkOption {
      type = types.listOf (types.submodule { inherit options; });
      default = [ ];
      inherit description;
    };
  settings = unitOptions.section;

  # The programs that every service finds.
  servicePath =
    { config, ... }:
    {
      config = {
        path = lib.mkAfter [
          pkgs.coreutils
          pkgs.findutils
          pkgs.gnugrep
          pkgs.gnused
          pkgs.systemd
        ];
        environment.PATH = lib.mkIf (config.path != [ ]) (
          lib.mkDefault "${lib.makeBinPath config.path}:${lib.makeSearchPathOutput "bin" "sbin" config.path}"
        );
      };
    };
  none = { };

  named =
    suffix: toUnit: set:
    lib.mapAttrs' (name: unit: lib.nameValuePair "${name}.${suffix}" (toUnit name unit)) set;
  byPath =
    suffix: toUnit: units:
    lib.listToAttrs (
      map (
        unit:
        let
          name = "${utils.escapeSystemdPath unit.where}.${suffix}";
        in
        lib.nameValuePair name (toUnit name unit)
      ) units
    );

  writeProgram = name: text: pkgs.writeShellScript name "set -e\n${text}";

  timed = lib.filterAttrs (_: service: service.startAt != [ ]) cfg.services;
in
{
  options.systemd = {
    package = mkOption {
      type = types.package;
      default = pkgs.systemd;
      description = "The systemd to use.";
    };
    packages = packages "Packages that bring units.";
    units = mkOption {
      description = "Units as text.";
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            inherit (unitOptions.common)
              enable
              overrideStrategy
              aliases
              wantedBy
              requiredBy
              upheldBy
              ;
            text = nullOr types.str "The text of the unit.";
          };
        }
      );
    };
    services = unitsOf unitOptions.service servicePath "Services.";
    targets = unitsOf unitOptions.common none "Targets.";
    sockets = unitsOf unitOptions.socket none "Sockets.";
    timers = unitsOf unitOptions.timer none "Timers.";
    paths = unitsOf unitOptions.path none "Paths that are watched.";
    slices = unitsOf unitOptions.slice none "Slices.";
    mounts = listOfUnits unitOptions.mount "Mounts.";
    automounts = listOfUnits unitOptions.automount "Mounts that happen when they are used.";
    user = {
      services = unitsOf unitOptions.service servicePath "Services of users.";
      timers = unitsOf unitOptions.timer none "Timers of users.";
      targets = unitsOf unitOptions.common none "Targets of users.";
      units = mkOption {
        type = types.attrsOf types.raw;
        internal = true;
        default = { };
        description = "Units of users as text.";
      };
    };
    defaultUnit = string "multi-user.target" "The unit that the boot leads to.";
    globalEnvironment = mkOption {
      type = types.attrsOf (types.nullOr types.str);
      default = { };
      description = "Variables of all services.";
    };
    enableEmergencyMode = bool true "Whether a failing boot ends in a shell.";
    settings.Manager = settings;
    suppressedSystemUnits = strings [ ] "systemd's own units that are left out.";
  };

  config = {
    systemd.units = lib.mkMerge [
      (named "service" (systemdUtils.serviceToUnit writeProgram) cfg.services)
      (named "target" systemdUtils.targetToUnit cfg.targets)
      (named "socket" systemdUtils.socketToUnit cfg.sockets)
      (named "timer" systemdUtils.timerToUnit cfg.timers)
      (named "path" systemdUtils.pathToUnit cfg.paths)
      (named "slice" systemdUtils.sliceToUnit cfg.slices)
      (byPath "mount" systemdUtils.mountToUnit cfg.mounts)
      (byPath "automount" systemdUtils.automountToUnit cfg.automounts)
    ];
    systemd.user.units =
      named "service" (systemdUtils.serviceToUnit writeProgram) cfg.user.services
      // named "timer" systemdUtils.timerToUnit cfg.user.timers
      // named "target" systemdUtils.targetToUnit cfg.user.targets;

    systemd.timers = lib.mapAttrs (_: service: {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = service.startAt;
    }) timed;

    environment.systemPackages = [ cfg.package ];
    environment.etc = {
      "systemd/system.conf".text = systemdUtils.sectionText "Manager" (
        lib.optionalAttrs (cfg.globalEnvironment != { }) {
          DefaultEnvironment = lib.concatStringsSep " " (
            lib.mapAttrsToList (n: v: ''"${n}=${v}"'') (lib.filterAttrs (_: v: v != null) cfg.globalEnvironment)
          );
        }
        // cfg.settings.Manager
      );
    };

    assertions = lib.concatLists (
      lib.mapAttrsToList (name: service: [
        {
          assertion =
            !(
              service.serviceConfig.Type or "" == "oneshot"
              && builtins.elem (service.serviceConfig.Restart or "no") [ "always" "on-success" ]
            );
          message = "Service '${name}.service' with 'Type=oneshot' cannot have 'Restart=${service.serviceConfig.Restart or ""}'";
        }
      ]) cfg.services
    );
  };
}
