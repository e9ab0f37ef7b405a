# Which package set the configuration uses; it reaches the other modules as `pkgs`.
{
  config,
  lib,
  options,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) nullOr;
  cfg = config.nixpkgs;

  platform = mkOption {
    type = types.either types.str types.attrs;
    apply = lib.systems.elaborate;
  };

  system =
    if options.nixpkgs.hostPlatform.isDefined then
      cfg.hostPlatform.system
    else if options.nixpkgs.system.isDefined then
      cfg.system
    else
      throw (
        "Neither nixpkgs.hostPlatform nor the option nixpkgs.system is set. Say what the configuration runs on, "
        + "for example nixpkgs.hostPlatform = \"x86_64-linux\";"
      );
in
{
  options.nixpkgs = {
    pkgs = mkOption {
      type = types.pkgs;
      description = "A package set to use instead of one made from the other options.";
    };
    hostPlatform = platform // {
      description = "The platform that the configuration runs on.";
    };
    buildPlatform = platform // {
      default = cfg.hostPlatform;
      description = "The platform that the configuration is built on.";
    };
    system = mkOption {
      type = types.str;
      description = "The old name for the platform, used when hostPlatform is not set.";
    };
    config = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      description = "Settings of the package set, such as allowUnfree.";
    };
    overlays = mkOption {
      type = types.listOf (types.functionTo (types.functionTo (types.lazyAttrsOf types.raw)));
      default = [ ];
      description = "Overlays on the package set, applied in order.";
    };
    flake.source = nullOr (types.either types.str types.path) "The source of nixpkgs that `nixpkgs` means on the installed system.";
  };

  config._module.args.pkgs =
    if options.nixpkgs.pkgs.isDefined then
      lib.foldl' (set: overlay: set.extend overlay) cfg.pkgs cfg.overlays
    else
      import ../../.. {
        inherit system;
        inherit (cfg) config overlays;
      };
}
