# /etc/nix/nix.conf.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool int lines strings;
  cfg = config.nix;

  atom = types.nullOr (
    types.oneOf [
      types.bool
      types.int
      types.float
      types.str
      types.path
      types.package
    ]
  );

  valueText =
    v:
    if v == null then
      ""
    else if builtins.isBool v then
      lib.boolToString v
    else if builtins.isList v then
      lib.concatMapStringsSep " " valueText v
    else if builtins.isAttrs v && !(v ? outPath) then
      throw "nix.settings: a set cannot be written to nix.conf"
    else
      toString v;
  settings = lib.concatLines (
    lib.mapAttrsToList (name: value: "${name} = ${valueText value}") (
      lib.filterAttrs (_: v: v != null) cfg.settings
    )
  );
in
{
  options.nix = {
    checkConfig = bool true "Whether the file is checked when it is built.";
    extraOptions = lines "Lines added to nix.conf.";
    settings = mkOption {
      default = { };
      description = "Settings of nix, by their names in nix.conf.";
      type = types.submodule {
        freeformType = types.attrsOf (types.either atom (types.listOf atom));
        options = {
          max-jobs = mkOption {
            type = types.either types.int (types.enum [ "auto" ]);
            default = "auto";
            description = "How many builds run side by side.";
          };
          cores = int 0 "How many cores one build uses; 0 for all.";
          auto-optimise-store = bool false "Whether equal files are linked.";
          sandbox = mkOption {
            type = types.either types.bool (types.enum [ "relaxed" ]);
            default = true;
            description = "Whether builds run in a sandbox.";
          };
          extra-sandbox-paths = strings [ ] "Paths that a sandbox shows.";
          require-sigs = bool true "Whether paths from elsewhere must be signed.";
          substituters = strings [ ] "Where finished paths are fetched from.";
          trusted-substituters = strings [ ] "Substituters that any user may name.";
          trusted-public-keys = strings [ ] "Keys whose signatures count.";
          trusted-users = mkOption {
            type = types.listOf types.str;
            description = "Users who may do anything to the store.";
          };
          allowed-users = strings [ "*" ] "Users who may talk to the daemon.";
          system-features = mkOption {
            type = types.listOf types.str;
            description = "What builds may require of this machine.";
          };
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    nix.settings = {
      trusted-users = [ "root" ];
      system-features = lib.mkDefault [
        "nixos-test"
        "benchmark"
        "big-parallel"
        "kvm"
      ];
    };

    environment.etc."nix/nix.conf".text = ''
      # Written from the nix.* options of the system's configuration.
      ${settings}${cfg.extraOptions}
    '';
  };
}
