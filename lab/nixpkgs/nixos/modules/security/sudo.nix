# sudo.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines string;
  cfg = config.security.sudo;

  command = types.either types.str (
    types.submodule {
      options = {
        command = mkOption {
          type = types.str;
          description = "The command, or ALL.";
        };
        options = mkOption {
          type = types.listOf (
            types.enum [
              "NOPASSWD"
              "PASSWD"
              "NOEXEC"
              "EXEC"
              "SETENV"
              "NOSETENV"
              "LOG_INPUT"
              "NOLOG_INPUT"
              "LOG_OUTPUT"
              "NOLOG_OUTPUT"
            ]
          );
          default = [ ];
          description = "Tags.";
        };
      };
    }
  );

  rule = types.submodule {
    options = {
      users = mkOption {
        type = types.listOf (types.either types.str types.int);
        default = [ ];
        description = "Users.";
      };
      groups = mkOption {
        type = types.listOf (types.either types.str types.int);
        default = [ ];
        description = "Groups.";
      };
      host = string "ALL" "The host.";
      runAs = string "ALL:ALL" "As whom.";
      commands = mkOption {
        type = types.listOf command;
        description = "What they may run.";
      };
    };
  };

  who = prefix: id: if builtins.isInt id then "${prefix}#${toString id}" else "${prefix}${id}";
  commandText =
    c:
    if builtins.isString c then
      c
    else
      lib.concatMapStrings (o: "${o}: ") c.options + c.command;
  ruleText =
    r:
    lib.concatMapStrings (
      subject:
      "${subject}  ${r.host}=(${r.runAs})  ${lib.concatMapStringsSep ", " commandText r.commands}\n"
    ) (map (who "") r.users ++ map (who "%") r.groups);

  all = options: {
    command = "ALL";
    inherit options;
  };
in
{
  options.security.sudo = {
    enable = bool true "Whether sudo is there.";
    package = mkOption {
      type = types.package;
      default = pkgs.sudo;
      description = "The sudo to use.";
    };
    wheelNeedsPassword = bool true "Whether the group wheel must give a password.";
    execWheelOnly = bool false "Whether only the group wheel can start sudo.";
    extraRules = mkOption {
      type = types.listOf rule;
      default = [ ];
      description = "Who may do what.";
    };
    extraConfig = lines "Text at the end of sudoers.";
    keepTerminfo = bool true "Whether terminal variables are kept.";
  };

  config = lib.mkIf cfg.enable {
    security.sudo.extraRules = lib.mkBefore [
      {
        users = [ "root" ];
        commands = [ (all [ "SETENV" ]) ];
      }
      {
        groups = [ "wheel" ];
        commands = [ (all ([ "SETENV" ] ++ lib.optional (!cfg.wheelNeedsPassword) "NOPASSWD")) ];
      }
    ];
    environment.systemPackages = [ cfg.package ];
    environment.etc.sudoers = {
      mode = "0440";
      text = ''
        # Written from security.sudo of the system's configuration.
        Defaults secure_path="/run/wrappers/bin:/run/current-system/sw/bin:/run/current-system/sw/sbin"
        ${lib.optionalString cfg.keepTerminfo ''Defaults env_keep+="TERM TERMINFO TERMINFO_DIRS"''}
        ${lib.concatMapStrings ruleText cfg.extraRules}
        ${cfg.extraConfig}
      '';
    };
  };
}
