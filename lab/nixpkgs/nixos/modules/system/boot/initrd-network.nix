# The network and an SSH server in the initrd, for unlocking from afar.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.initrd.network;
in
{
  options.boot.initrd.network = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the initrd uses the network.";
    };
    flushBeforeStage2 = mkOption {
      type = types.bool;
      default = true;
      description = "Whether addresses are given up before the system starts.";
    };
    udhcpc.enable = mkOption {
      type = types.bool;
      default = config.networking.useDHCP;
      description = "Whether the initrd asks for an address.";
    };
    postCommands = mkOption {
      type = types.lines;
      default = "";
      description = "Shell commands once the network is up.";
    };
    ssh = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the initrd runs an SSH server.";
      };
      port = mkOption {
        type = types.port;
        default = 22;
        description = "Its port.";
      };
      shell = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The shell of a session.";
      };
      hostKeys = mkOption {
        type = types.listOf (types.either types.str types.path);
        default = [ ];
        description = "Its host keys, files of the machine.";
      };
      ignoreEmptyHostKeys = mkOption {
        type = types.bool;
        default = false;
        description = "Whether it may start without host keys.";
      };
      authorizedKeys = mkOption {
        type = types.listOf types.str;
        default = config.users.users.root.openssh.authorizedKeys.keys;
        description = "Keys that may log in.";
      };
      authorizedKeyFiles = mkOption {
        type = types.listOf types.path;
        default = config.users.users.root.openssh.authorizedKeys.keyFiles;
        description = "Files of keys that may log in.";
      };
      extraConfig = mkOption {
        type = types.lines;
        default = "";
        description = "Text of its sshd_config.";
      };
    };
  };

  config = lib.mkIf (cfg.enable && cfg.ssh.enable) {
    boot.initrd.secrets = lib.listToAttrs (
      map (path: lib.nameValuePair "/etc/ssh/${baseNameOf path}" path) cfg.ssh.hostKeys
    );
    assertions = [
      {
        assertion = cfg.ssh.authorizedKeys != [ ] || cfg.ssh.authorizedKeyFiles != [ ];
        message = "boot.initrd.network.ssh needs at least one authorized key.";
      }
      {
        assertion = cfg.ssh.hostKeys != [ ] || cfg.ssh.ignoreEmptyHostKeys;
        message = "boot.initrd.network.ssh.hostKeys is empty: make a host key for the initrd first.";
      }
    ];
  };
}
