# The network and an SSH server in the initrd, for unlocking from afar.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr strings;
  cfg = config.boot.initrd.network;
in
{
  options.boot.initrd.network = {
    enable = bool false "Whether the initrd uses the network.";
    flushBeforeStage2 = bool true "Whether addresses are given up before the system starts.";
    udhcpc.enable = bool config.networking.useDHCP "Whether the initrd asks for an address.";
    postCommands = lines "Shell commands once the network is up.";
    ssh = {
      enable = bool false "Whether the initrd runs an SSH server.";
      port = mkOption {
        type = types.port;
        default = 22;
        description = "Its port.";
      };
      shell = nullOr types.str "The shell of a session.";
      hostKeys = mkOption {
        type = types.listOf (types.either types.str types.path);
        default = [ ];
        description = "Its host keys, files of the machine.";
      };
      ignoreEmptyHostKeys = bool false "Whether it may start without host keys.";
      authorizedKeys = strings config.users.users.root.openssh.authorizedKeys.keys "Keys that may log in.";
      authorizedKeyFiles = mkOption {
        type = types.listOf types.path;
        default = config.users.users.root.openssh.authorizedKeys.keyFiles;
        description = "Files of keys that may log in.";
      };
      extraConfig = lines "Text of its sshd_config.";
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
