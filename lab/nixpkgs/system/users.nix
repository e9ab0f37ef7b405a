# Accounts: the table that update-users.pl makes /etc/passwd, group and shadow from.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  users = lib.filter (user: user.enable) (lib.attrValues config.users.users);
  groups = lib.attrValues config.users.groups;

  field = value: if value == null then "" else toString value;
  flag = value: if value then "1" else "0";
  line = lib.concatStringsSep "\t";

  shell = user: if user.shell == null then "/run/current-system/sw/bin/nologin" else utils.toShellPath user.shell;

  userLine =
    user:
    line [
      "user"
      user.name
      (field user.uid)
      user.group
      user.description
      user.home
      user.homeMode
      (flag user.createHome)
      "${shell user}"
      (flag user.isSystemUser)
      (field user.hashedPassword)
      (field user.hashedPasswordFile)
      (field user.password)
      (field user.initialHashedPassword)
      (field user.initialPassword)
    ];
  groupLine =
    group:
    line [
      "group"
      group.name
      (field group.gid)
      (lib.concatStringsSep "," group.members)
    ];

  table = pkgs.writeText "users-groups" (
    lib.concatLines (
      [ "mutable\t${flag config.users.mutableUsers}" ] ++ map groupLine groups ++ map userLine users
    )
  );
in
{
  system.activationScripts = {
    users = {
      deps = [ "specialfs" ];
      text = ''
        install -m 0700 -d /root
        install -m 0755 -d /home
        ${pkgs.perl}/bin/perl ${./programs/update-users.pl} ${table}
      '';
    };
    # Other snippets wait for accounts under this name.
    groups.deps = [ "users" ];
  };
}
