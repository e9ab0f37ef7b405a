# Accounts. What is declared here becomes /etc/passwd and its companions at activation.
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
  cfg = config.users;

  userOptions =
    { name, config, ... }:
    {
      options = {
        enable = bool true "Whether the account exists.";
        name = mkOption {
          type = types.passwdEntry types.str;
          default = name;
          description = "The login name.";
        };
        description = mkOption {
          type = types.passwdEntry types.str;
          default = "";
          description = "The full name.";
        };
        uid = nullOr types.int "The number; null for a free one.";
        isSystemUser = bool false "Whether the account belongs to a service.";
        isNormalUser = bool false "Whether the account belongs to a person.";
        group = string "" "The primary group.";
        extraGroups = strings [ ] "Further groups.";
        home = mkOption {
          type = types.passwdEntry types.path;
          default = "/var/empty";
          description = "The home folder.";
        };
        homeMode = mkOption {
          type = types.strMatching "[0-7]{1,5}";
          default = "700";
          description = "The mode of the home folder.";
        };
        createHome = bool false "Whether the home folder is made.";
        shell = mkOption {
          type = types.nullOr (types.either types.shellPackage (types.passwdEntry types.path));
          default = "/run/current-system/sw/bin/nologin";
          description = "The login shell.";
        };
        useDefaultShell = bool false "Whether the shell is users.defaultUserShell.";
        ignoreShellProgramCheck = bool false "Whether a shell without its programs option is fine.";
        password = nullOr types.str "The password, readable by all in the store.";
        hashedPassword = nullOr (types.passwdEntry types.str) "The hash of the password.";
        hashedPasswordFile = nullOr types.str "A file on the machine that holds the hash.";
        initialPassword = nullOr types.str "The password of an account that is new.";
        initialHashedPassword = nullOr (types.passwdEntry types.str) "The hash for an account that is new.";
        packages = packages "Packages in this user's PATH.";
      };

      config = lib.mkMerge [
        {
          shell = lib.mkIf config.useDefaultShell (lib.mkDefault cfg.defaultUserShell);
        }
        (lib.mkIf config.isNormalUser {
          group = lib.mkDefault "users";
          createHome = lib.mkDefault true;
          home = lib.mkDefault "/home/${config.name}";
          useDefaultShell = lib.mkDefault true;
          isSystemUser = lib.mkDefault false;
        })
      ];
    };

  groupOptions =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.passwdEntry types.str;
          default = name;
          description = "The name of the group.";
        };
        gid = nullOr types.int "The number; null for a free one.";
        members = mkOption {
          type = types.listOf (types.passwdEntry types.str);
          default = [ ];
          description = "Users in the group.";
        };
      };
      config.members = lib.mapAttrsToList (_: user: user.name) (
        lib.filterAttrs (_: user: builtins.elem name user.extraGroups) cfg.users
      );
    };

  hasPassword =
    user:
    user.password != null
    || user.hashedPassword != null && builtins.match "[!*].*|" user.hashedPassword == null
    || user.hashedPasswordFile != null;
  hasKey =
    user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ];
  canAdminister =
    user:
    (user.name == "root" || user.group == "wheel" || builtins.elem "wheel" user.extraGroups)
    && (hasPassword user || hasKey user);

  ids = lib.filter (id: id != null) (lib.mapAttrsToList (_: user: user.uid) cfg.users);

  perUser = lib.mapAttrsToList (
    name: user:
    [
      {
        assertion = (if user.isNormalUser then 1 else 0) + (if user.isSystemUser then 1 else 0) == 1;
        message = "Exactly one of users.users.${name}.isSystemUser and users.users.${name}.isNormalUser must be set.";
      }
      {
        assertion = user.group != "";
        message = "users.users.${name}.group is not set: an account needs a primary group.";
      }
      {
        assertion = user.group == "" || cfg.groups ? ${user.group};
        message = "users.users.${name}.group: the group `${user.group}' is not declared in users.groups.";
      }
    ]
    ++ map (shell: {
      assertion = !(user.shell == pkgs.${shell} or null) || config.programs.${shell}.enable || user.ignoreShellProgramCheck;
      message = "users.users.${name}.shell is set to ${shell}, but programs.${shell}.enable is not true.";
    }) (lib.filter (shell: pkgs ? ${shell}) [ "zsh" "fish" ])
  ) cfg.users;
in
{
  options.users = {
    mutableUsers = bool true "Whether accounts and passwords changed on the machine stay changed.";
    enforceIdUniqueness = bool true "Whether no two accounts may share a number.";
    allowNoPasswordLogin = bool false "Whether a system that nobody can log in to is fine.";
    defaultUserShell = mkOption {
      type = types.either types.path types.shellPackage;
      default = pkgs.bashInteractive;
      description = "The login shell of people.";
    };
    motd = nullOr types.lines "The message at login.";
    users = mkOption {
      type = types.attrsOf (types.submodule userOptions);
      default = { };
      description = "The accounts.";
    };
    groups = mkOption {
      type = types.attrsOf (types.submodule groupOptions);
      default = { };
      description = "The groups.";
    };
  };

  config = {
    users.users = {
      root = {
        uid = 0;
        description = "System administrator";
        home = "/root";
        shell = lib.mkDefault cfg.defaultUserShell;
        group = "root";
        isSystemUser = true;
      };
      nobody = {
        uid = 65534;
        isSystemUser = true;
        description = "Unprivileged account (don't use!)";
        group = "nogroup";
      };
    };

    users.groups = lib.mapAttrs (_: gid: { inherit gid; }) {
      root = 0;
      wheel = 1;
      kmem = 2;
      tty = 3;
      messagebus = 4;
      disk = 6;
      audio = 17;
      floppy = 18;
      uucp = 19;
      lp = 20;
      cdrom = 24;
      tape = 25;
      video = 26;
      dialout = 27;
      utmp = 29;
      adm = 55;
      systemd-journal = 62;
      keys = 96;
      users = 100;
      input = 174;
      sgx = 304;
      shadow = 318;
      kvm = 302;
      render = 303;
      nixbld = 30000;
      nogroup = 65534;
    };

    environment.etc = lib.mkMerge (
      [ { motd = lib.mkIf (cfg.motd != null) { text = cfg.motd; }; } ]
      ++ lib.mapAttrsToList (
        name: user:
        lib.mkIf (user.packages != [ ]) {
          "profiles/per-user/${name}".source = pkgs.buildEnv {
            name = "user-environment";
            paths = user.packages;
            inherit (config.environment) pathsToLink extraOutputsToInstall;
          };
        }
      ) cfg.users
    );

    assertions = [
      {
        assertion = !cfg.enforceIdUniqueness || lib.allUnique ids;
        message = "UIDs and GIDs must be unique!";
      }
      {
        assertion =
          cfg.mutableUsers
          || cfg.allowNoPasswordLogin
          || lib.any canAdminister (lib.attrValues cfg.users);
        message = ''
          Nobody could log in as an administrator: neither root nor any user in wheel has a password or an authorized key.
          Set one, or users.allowNoPasswordLogin = true.'';
      }
    ]
    ++ lib.concatLists perUser;
  };
}
