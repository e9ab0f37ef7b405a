# The files of /etc that the configuration owns.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool int nullOr string;

  entry =
    {
      name,
      config,
      options,
      ...
    }:
    {
      options = {
        enable = bool true "Whether the file exists.";
        target = string name "The path below /etc.";
        text = nullOr types.lines "What the file holds.";
        source = mkOption {
          type = types.path;
          description = "The file that is linked or copied.";
        };
        mode = mkOption {
          type = types.str;
          default = "symlink";
          example = "0600";
          description = "`symlink`, `direct-symlink`, or the mode of a copy.";
        };
        uid = int 0 "Owner of a copy, by number.";
        gid = int 0 "Group of a copy, by number.";
        user = string "+${toString config.uid}" "Owner of a copy.";
        group = string "+${toString config.gid}" "Group of a copy.";
      };

      # As strong as the text it is made from.
      config.source = lib.mkIf (config.text != null) (
        lib.mkOverride options.text.highestPrio (
          pkgs.writeText "etc-${lib.replaceStrings [ "/" "@" " " ] [ "-" "-" "-" ] name}" config.text
        )
      );
    };
in
{
  options.environment.etc = mkOption {
    type = types.attrsOf (types.submodule entry);
    default = { };
    description = "Files to put below /etc.";
  };

  config.assertions = lib.mapAttrsToList (name: file: {
    assertion = !lib.hasPrefix "/" file.target;
    message = "environment.etc.\"${name}\": the target `${file.target}' must be relative to /etc.";
  }) config.environment.etc;
}
