# The SSH server: its settings, its host keys, and who may log in by key.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr string strings;
  cfg = config.services.openssh;

  settings = import ./sshd-settings.nix { inherit lib; };

  userKeys = {
    options.openssh.authorizedKeys = {
      keys = mkOption {
        type = types.listOf types.singleLineStr;
        default = [ ];
        description = "Public keys that may log in as this user.";
      };
      keyFiles = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Files of public keys.";
      };
    };
  };

  # Named after the account, which may differ from the attribute.
  keyFileOf = user: {
    name = "ssh/authorized_keys.d/${user.name}";
    value = {
      mode = "0444";
      source = pkgs.writeText "${user.name}-authorized_keys" (
        lib.concatLines (user.openssh.authorizedKeys.keys ++ map builtins.readFile user.openssh.authorizedKeys.keyFiles)
      );
    };
  };
  hasKeys =
    _: user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ];

  keyFiles = lib.listToAttrs (
    map keyFileOf (lib.attrValues (lib.filterAttrs hasKeys config.users.users))
  );

  makeKey = key: ''
    if ! [ -s ${lib.escapeShellArg key.path} ]; then
      rm -f ${lib.escapeShellArg key.path}
      mkdir -p "$(dirname ${lib.escapeShellArg key.path})"
      chmod 0755 "$(dirname ${lib.escapeShellArg key.path})"
      ssh-keygen -t ${lib.escapeShellArg key.type} ${
        lib.optionalString (key ? bits) "-b ${toString key.bits} "
      }${lib.optionalString (key ? rounds) "-a ${toString key.rounds} "}${
        lib.optionalString (key ? comment) "-C ${lib.escapeShellArg key.comment} "
      }-f ${lib.escapeShellArg key.path} -N ""
    fi
  '';

  listen =
    { addr, port, ... }:
    "ListenAddress ${addr}${lib.optionalString (port != null) ":${toString port}"}\n";

  configText =
    settings.toText cfg.settings
    + lib.concatMapStrings (port: "Port ${toString port}\n") cfg.ports
    + lib.concatMapStrings listen cfg.listenAddresses
    + lib.optionalString cfg.allowSFTP "Subsystem sftp ${cfg.sftpServerExecutable} ${toString cfg.sftpFlags}\n"
    + "AuthorizedKeysFile ${toString cfg.authorizedKeysFiles}\n"
    + lib.optionalString (cfg.authorizedKeysCommand != "none") ''
      AuthorizedKeysCommand ${cfg.authorizedKeysCommand}
      AuthorizedKeysCommandUser ${cfg.authorizedKeysCommandUser}
    ''
    + lib.concatMapStrings (key: "HostKey ${key.path}\n") cfg.hostKeys
    + cfg.extraConfig;

in
{
  options.users.users = mkOption { type = types.attrsOf (types.submodule userKeys); };

  options.services.openssh = {
    enable = bool false "Whether the SSH server runs.";
    package = mkOption {
      type = types.package;
      default = pkgs.openssh;
      description = "The OpenSSH to use.";
    };
    startWhenNeeded = bool false "Whether a connection starts the server.";
    openFirewall = bool true "Whether the firewall lets connections through.";
    generateHostKeys = bool true "Whether missing host keys are made.";
    allowSFTP = bool true "Whether files may be transferred.";
    sftpServerExecutable = string "${cfg.package}/libexec/sftp-server" "The server for transfers.";
    sftpFlags = strings [ ] "Its flags.";
    ports = mkOption {
      type = types.listOf types.port;
      default = [ 22 ];
      description = "The ports it listens on.";
    };
    listenAddresses = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            addr = nullOr types.str "The address.";
            port = nullOr types.int "The port.";
          };
        }
      );
      default = [ ];
      description = "The addresses it listens on; all when empty.";
    };
    hostKeys = mkOption {
      type = types.listOf types.attrs;
      default = [
        {
          type = "rsa";
          bits = 4096;
          path = "/etc/ssh/ssh_host_rsa_key";
        }
        {
          type = "ed25519";
          path = "/etc/ssh/ssh_host_ed25519_key";
        }
      ];
      description = "The host keys: where they lie, and how a missing one is made.";
    };
    authorizedKeysInHomedir = bool true "Whether ~/.ssh/authorized_keys counts.";
    authorizedKeysFiles = strings [ ] "Where public keys of users are looked up.";
    authorizedKeysCommand = string "none" "A program that knows public keys of users.";
    authorizedKeysCommandUser = string "nobody" "Who runs it.";
    settings = mkOption {
      inherit (settings) type;
      default = { };
      description = "Settings of the server, by their names in sshd_config.";
    };
    extraConfig = lines "Text at the end of sshd_config.";
  };

  config = lib.mkIf cfg.enable {
    services.openssh.authorizedKeysFiles =
      lib.optional cfg.authorizedKeysInHomedir "%h/.ssh/authorized_keys"
      ++ [ "/etc/ssh/authorized_keys.d/%u" ];
    networking.firewall.allowedTCPPorts = lib.optionals cfg.openFirewall cfg.ports;

    users.users.sshd = {
      isSystemUser = true;
      group = "sshd";
      description = "SSH privilege separation user";
    };
    users.groups.sshd = { };

    environment.etc = keyFiles // {
      "ssh/sshd_config".text = configText;
      "ssh/moduli".source = "${cfg.package}/etc/ssh/moduli";
    };

    systemd.services = {
      sshd-keygen = lib.mkIf (cfg.generateHostKeys && cfg.hostKeys != [ ]) {
        description = "SSH Host Keys Generation";
        unitConfig.ConditionFileNotEmpty = map (key: "|!${key.path}") cfg.hostKeys;
        serviceConfig.Type = "oneshot";
        path = [ cfg.package ];
        script = lib.concatMapStrings makeKey cfg.hostKeys;
      };
      sshd = {
        description = "SSH Daemon";
        wantedBy = lib.optional (!cfg.startWhenNeeded) "multi-user.target";
        wants = [ "sshd-keygen.service" ];
        after = [
          "network.target"
          "sshd-keygen.service"
        ];
        stopIfChanged = false;
        path = [ cfg.package ];
        restartTriggers = [ config.environment.etc."ssh/sshd_config".source ];
        serviceConfig = {
          Type = "notify";
          Restart = "always";
          ExecStart = "${cfg.package}/bin/sshd -D -f /etc/ssh/sshd_config";
          KillMode = "process";
          RuntimeDirectory = "sshd";
          RuntimeDirectoryMode = "0755";
          RuntimeDirectoryPreserve = true;
        };
      };
    };

    assertions = [
      {
        assertion = !cfg.startWhenNeeded;
        message = "services.openssh.startWhenNeeded: the miniature nixpkgs runs the server all the time.";
      }
      {
        assertion = lib.all (l: l.addr != null) cfg.listenAddresses;
        message = "addr must be specified in each listenAddresses entry";
      }
    ]
    ++ map (key: {
      assertion = key ? path && key ? type;
      message = "services.openssh.hostKeys: each key needs `path' and `type'.";
    }) cfg.hostKeys;
  };
}
