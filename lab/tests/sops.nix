# Secrets: where they appear, which keys open them, and what is refused.
{
  lib,
  evalConfig,
  bootable,
  sops,
  ...
}:
let
  file = builtins.toFile "secrets.yaml" "sample: ENC[]\n";
  eval =
    module:
    (evalConfig [
      sops
      bootable
      {
        services.openssh.enable = true;
        sops.defaultSopsFile = file;
      }
      module
    ]).config;
  toplevel = module: (eval module).system.build.toplevel.drvPath;
in
{
  defaults = {
    expr =
      let
        secret = (eval { sops.secrets."a/b" = { }; }).sops.secrets."a/b";
      in
      {
        inherit (secret)
          key
          path
          mode
          owner
          format
          ;
      };
    expected = {
      key = "a/b";
      path = "/run/secrets/a/b";
      mode = "0400";
      owner = null;
      format = "yaml";
    };
  };
  group-follows-owner = {
    expr =
      (eval {
        users.users.alice.isNormalUser = true;
        sops.secrets.a.owner = "alice";
      }).sops.secrets.a.group;
    expected = "users";
  };
  for-users = {
    expr = (eval { sops.secrets.a.neededForUsers = true; }).sops.secrets.a.path;
    expected = "/run/secrets-for-users/a";
  };
  host-keys = {
    expr =
      let
        inherit (eval { }) sops;
      in
      [
        sops.age.sshKeyPaths
        sops.gnupg.sshKeyPaths
      ];
    expected = [
      [ "/etc/ssh/ssh_host_ed25519_key" ]
      [ "/etc/ssh/ssh_host_rsa_key" ]
    ];
  };
  secrets-before-users = {
    expr =
      let
        script =
          (eval {
            sops.secrets.a.neededForUsers = true;
            sops.secrets.b = { };
          }).system.activationScripts.script;
        after = first: second: builtins.match ".*snippet ${first}:.*snippet ${second}:.*" script != null;
      in
      [
        (after "setupSecretsForUsers" "users")
        (after "users" "setupSecrets")
      ];
    expected = [
      true
      true
    ];
  };
  placeholder = {
    expr =
      let
        config = eval (
          { config, ... }:
          {
            sops.secrets.a = { };
            sops.templates.conf.content = "token=${config.sops.placeholder.a}";
          }
        );
      in
      lib.hasPrefix "token=<SOPS:" config.sops.templates.conf.content;
    expected = true;
  };

  no-key = {
    expr = toplevel {
      services.openssh.enable = lib.mkForce false;
      sops.secrets.a = { };
    };
    error = "sops has no key to open secrets with";
  };
  early-secret-of-a-user = {
    expr = toplevel {
      users.users.alice.isNormalUser = true;
      sops.secrets.a = {
        neededForUsers = true;
        owner = "alice";
      };
    };
    error = "neededForUsers secrets belong to root";
  };
  key-file-in-the-store = {
    expr = (eval { sops.age.keyFile = file; }).sops.age.keyFile;
    error = "path not in the Nix store";
  };
  missing-file = {
    expr = toplevel { sops.secrets.a.sopsFile = "/nowhere/secrets.yaml"; };
    error = "/nowhere/secrets.yaml";
  };
}
