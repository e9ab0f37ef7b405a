# Files that hold secrets among other text: `sops.placeholder.NAME` stands for the secret until
# the system is activated.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.sops;

  template =
    { name, config, ... }:
    {
      options = {
        name = mkOption {
          type = types.singleLineStr;
          default = name;
          description = "The file below /run/secrets/rendered.";
        };
        path = mkOption {
          type = types.str;
          default = "/run/secrets/rendered/${config.name}";
          description = "Where the file can be read.";
        };
        content = mkOption {
          type = types.lines;
          default = "";
          description = "The text, with placeholders.";
        };
        file = mkOption {
          type = types.path;
          default = pkgs.writeText config.name config.content;
          description = "A file with the text.";
        };
        mode = mkOption {
          type = types.singleLineStr;
          default = "0400";
          description = "The mode.";
        };
        owner = mkOption {
          type = types.nullOr types.singleLineStr;
          default = null;
          description = "Who owns it; null for root.";
        };
        group = mkOption {
          type = types.nullOr types.singleLineStr;
          default = null;
          description = "Its group; null for root.";
        };
        restartUnits = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Units that restart when the file changes.";
        };
        reloadUnits = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Units that reload when the file changes.";
        };
      };
    };
in
{
  options.sops = {
    templates = mkOption {
      type = types.attrsOf (types.submodule template);
      default = { };
      description = "Files made of text and secrets.";
    };
    placeholder = mkOption {
      type = types.attrsOf types.str;
      internal = true;
      description = "What stands for each secret.";
    };
  };

  config.sops.placeholder = lib.mapAttrs (
    name: _: lib.mkDefault "<SOPS:${builtins.hashString "sha256" name}:PLACEHOLDER>"
  ) cfg.secrets;
}
