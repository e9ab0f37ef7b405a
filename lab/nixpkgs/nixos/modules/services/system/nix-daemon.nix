# The nix daemon, its build users, and the flake registry.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool int nullOr strings;
  cfg = config.nix;

  builder = n: {
    name = "nixbld${toString n}";
    value = {
      uid = 30000 + n;
      description = "Nix build user ${toString n}";
      isSystemUser = true;
      group = "nixbld";
      extraGroups = [ "nixbld" ];
    };
  };

  reference = mkOption {
    type = types.attrsOf (
      types.oneOf [
        types.str
        types.int
        types.bool
        types.path
        types.package
      ]
    );
    description = "A flake reference as a set.";
  };
in
{
  options.nix = {
    enable = bool true "Whether the system has nix.";
    package = mkOption {
      type = types.package;
      default = pkgs.nix;
      description = "The nix to use.";
    };
    nrBuildUsers = int 8 "How many accounts run builds.";
    nixPath = strings [ ] "NIX_PATH.";
    channel.enable = bool true "Whether channels may be used beside flakes.";
    gc = {
      automatic = bool false "Whether garbage is collected at times.";
      dates = mkOption {
        type = types.either types.singleLineStr (types.listOf types.str);
        default = "03:15";
        apply = lib.toList;
        description = "When.";
      };
      options = mkOption {
        type = types.singleLineStr;
        default = "";
        description = "Options of nix-collect-garbage.";
      };
      persistent = bool true "Whether a missed time is made up for.";
      randomizedDelaySec = mkOption {
        type = types.singleLineStr;
        default = "0";
        description = "How much later at most.";
      };
    };
    optimise = {
      automatic = bool false "Whether equal files are linked at times.";
      dates = strings [ "03:45" ] "When.";
    };
    registry = mkOption {
      type = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options = {
              from = reference // {
                default = {
                  type = "indirect";
                  id = name;
                };
              };
              to = reference;
              flake = nullOr types.attrs "An input whose locked source is meant.";
              exact = bool true "Whether only exactly this reference is replaced.";
            };
            config.to = lib.mkIf (config.flake != null) (
              lib.mkDefault (
                {
                  type = "path";
                  path = config.flake.outPath;
                }
                // lib.filterAttrs (
                  n: _: n == "lastModified" || n == "rev" || n == "narHash"
                ) config.flake
              )
            );
          }
        )
      );
      default = { };
      description = "What names of flakes mean on this machine.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    nix.settings.build-users-group = "nixbld";
    nix.registry = lib.mkIf (config.nixpkgs.flake.source != null) {
      nixpkgs.to = lib.mkDefault {
        type = "path";
        path = config.nixpkgs.flake.source;
      };
    };

    users.users = lib.listToAttrs (map builder (lib.range 1 cfg.nrBuildUsers));

    environment.etc."nix/registry.json".text = builtins.toJSON {
      version = 2;
      flakes = lib.mapAttrsToList (_: entry: { inherit (entry) from to exact; }) cfg.registry;
    };
    environment.sessionVariables.NIX_PATH = lib.mkIf (cfg.nixPath != [ ]) cfg.nixPath;

    systemd.sockets.nix-daemon = {
      description = "Nix Daemon Socket";
      wantedBy = [ "sockets.target" ];
      before = [ "multi-user.target" ];
      unitConfig.RequiresMountsFor = "/nix/store";
      listenStreams = [ "/nix/var/nix/daemon-socket/socket" ];
    };
    systemd.services = {
      nix-daemon = {
        description = "Nix Daemon";
        path = [
          cfg.package
          pkgs.openssh
          pkgs.gnutar
          pkgs.gzip
        ];
        unitConfig = {
          RequiresMountsFor = "/nix/store /nix/var /nix/var/nix/db";
          ConditionPathIsReadWrite = "/nix/var/nix/daemon-socket";
        };
        restartTriggers = [ config.environment.etc."nix/nix.conf".source ];
        serviceConfig = {
          ExecStart = "@${cfg.package}/bin/nix-daemon nix-daemon --daemon";
          KillMode = "process";
          LimitNOFILE = 1048576;
          TasksMax = 1048576;
          Delegate = true;
        };
      };
      nix-gc = lib.mkIf cfg.gc.automatic {
        description = "Nix Garbage Collector";
        script = "exec ${cfg.package}/bin/nix-collect-garbage ${cfg.gc.options}";
        serviceConfig.Type = "oneshot";
        startAt = cfg.gc.dates;
      };
      nix-optimise = lib.mkIf cfg.optimise.automatic {
        description = "Nix Store Optimiser";
        serviceConfig.ExecStart = "${cfg.package}/bin/nix-store --optimise";
        startAt = cfg.optimise.dates;
      };
    };
    systemd.timers.nix-gc = lib.mkIf cfg.gc.automatic {
      timerConfig = {
        Persistent = cfg.gc.persistent;
        RandomizedDelaySec = cfg.gc.randomizedDelaySec;
      };
    };
    systemd.tmpfiles.rules = [
      "d /nix/var/nix/daemon-socket 0755 root root - -"
      "d /nix/var/nix/gcroots 0755 root root - -"
      "d /nix/var/nix/profiles/per-user 0755 root root - -"
    ];
  };
}
