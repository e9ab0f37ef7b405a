# What login shells find: variables, aliases, init scripts.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.environment;

  text =
    description:
    mkOption {
      type = types.lines;
      default = "";
      inherit description;
    };
  variables =
    description:
    mkOption {
      type = types.attrsOf (
        types.nullOr (
          types.oneOf [
            (types.listOf (types.oneOf [
              types.int
              types.str
              types.path
            ]))
            types.int
            types.str
            types.path
          ]
        )
      );
      default = { };
      apply =
        set:
        lib.mapAttrs (_: v: if builtins.isList v then lib.concatMapStringsSep ":" toString v else toString v) (
          lib.filterAttrs (_: v: v != null) set
        );
      inherit description;
    };
  exports = lib.concatLines (
    lib.mapAttrsToList (name: value: "export ${name}=${builtins.toJSON value}") cfg.variables
  );
  aliases = lib.concatLines (
    lib.mapAttrsToList (name: value: "alias ${name}=${lib.escapeShellArg value}") (
      lib.filterAttrs (_: v: v != null) cfg.shellAliases
    )
  );
in
{
  options.environment = {
    variables = variables "Variables of all shells.";
    sessionVariables = variables "Variables of all sessions.";
    shellAliases = mkOption {
      type = types.attrsOf (types.nullOr (types.either types.str types.path));
      default = { };
      description = "Aliases of all shells.";
    };
    extraInit = text "Shell commands after the variables are set.";
    shellInit = text "Commands of every shell.";
    loginShellInit = text "Commands of login shells.";
    interactiveShellInit = text "Commands of interactive shells.";
    shells = mkOption {
      type = types.listOf (types.either types.shellPackage types.path);
      default = [ ];
      description = "Shells that /etc/shells allows.";
    };
    binsh = mkOption {
      type = types.path;
      default = "${pkgs.bashInteractive}/bin/sh";
      internal = true;
      description = "The shell behind /bin/sh.";
    };
    profiles = mkOption {
      type = types.listOf types.str;
      default = [
        "$HOME/.nix-profile"
        "/etc/profiles/per-user/$USER"
        "/nix/var/nix/profiles/default"
        "/run/current-system/sw"
      ];
      description = "Profiles whose programs are in the PATH.";
    };
  };

  config.environment = {
    variables = lib.mkMerge [
      cfg.sessionVariables
      {
        EDITOR = lib.mkDefault "nano";
        PAGER = lib.mkDefault "less -R";
      }
    ];
    shells = [
      "/run/current-system/sw/bin/bash"
      "/run/current-system/sw/bin/sh"
      "/bin/sh"
    ];
    etc = {
      set-environment.text = ''
        ${exports}export PATH="/run/wrappers/bin:${
          lib.concatMapStringsSep ":" (p: "${p}/bin") cfg.profiles
        }"
        ${cfg.extraInit}
      '';
      profile.text = ''
        . /etc/set-environment
        ${cfg.shellInit}
        ${cfg.loginShellInit}
        [ -z "$BASH_VERSION" ] || [ -z "$PS1" ] || . /etc/bashrc
      '';
      bashrc.text = ''
        ${aliases}${cfg.interactiveShellInit}
      '';
      shells.text = lib.concatMapStrings (
        shell: "${if lib.isDerivation shell then "/run/current-system/sw${shell.shellPath}" else toString shell}\n"
      ) cfg.shells;
    };
  };
}
