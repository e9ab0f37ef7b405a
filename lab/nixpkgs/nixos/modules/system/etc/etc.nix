# The files of /etc that the configuration owns.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  entry =
    {
      name,
      config,
      options,
      ...
    }:
    {
      options = {
        enable = mkOption {
          type = types.bool;
          default = true;
          description = "Whether the file exists.";
        };
        target = mkOption {
          type = types.str;
          default = name;
          description = "The path below /etc.";
        };
        text = mkOption {
          type = types.nullOr types.lines;
          default = null;
          description = "What the file holds.";
        };
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
        uid = mkOption {
          type = types.int;
          default = 0;
          description = "Owner of a copy, by number.";
        };
        gid = mkOption {
          type = types.int;
          default = 0;
          description = "Group of a copy, by number.";
        };
        user = mkOption {
          type = types.str;
          default = "+${toString config.uid}";
          description = "Owner of a copy.";
        };
        group = mkOption {
          type = types.str;
          default = "+${toString config.gid}";
          description = "Group of a copy.";
        };
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
