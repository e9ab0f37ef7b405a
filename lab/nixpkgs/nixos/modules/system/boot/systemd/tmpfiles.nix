# Files and folders that systemd-tmpfiles makes and cleans.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) string strings;
  cfg = config.systemd.tmpfiles;

  field =
    description:
    mkOption {
      type = types.str;
      default = "-";
      inherit description;
    };
  rule = types.submodule (
    { name, ... }:
    {
      options = {
        type = string name "What to do.";
        mode = field "The mode.";
        user = field "The owner.";
        group = field "The group.";
        age = field "When it is cleaned.";
        argument = string "" "What the type needs to know.";
      };
    }
  );

  line =
    path: r:
    "${r.type} ${lib.escapeShellArg path} ${r.mode} ${r.user} ${r.group} ${r.age} ${r.argument}\n";
  fileText =
    paths:
    lib.concatStrings (
      lib.concatLists (
        lib.mapAttrsToList (path: rules: map (line path) (lib.attrValues rules)) paths
      )
    );
in
{
  options.systemd.tmpfiles = {
    rules = strings [ ] "Lines of tmpfiles.d.";
    settings = mkOption {
      type = types.attrsOf (types.attrsOf (types.attrsOf rule));
      default = { };
      description = "Rules by file, path and type.";
    };
  };

  config.environment.etc = {
    "tmpfiles.d/00-nixos.conf".text = lib.concatLines cfg.rules;
  }
  // lib.mapAttrs' (
    name: paths: lib.nameValuePair "tmpfiles.d/${name}.conf" { text = fileText paths; }
  ) cfg.settings;
}
