# The network and an SSH server in the initrd, for unlocking from afar.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr strings;
  cfg = config.boot.initrd.network;
  sshd = config.services.openssh.settings;
  # A path of the machine is the same one in the initrd.
  keyPath = path: if builtins.isString path then path else "/etc/ssh/${baseNameOf path}";
  several = name: values: lib.optionalString (values != null) "${name} ${lib.concatStringsSep "," (lib.toList values)}\n";
  sshdConfig = ''
    UsePAM no
    Port ${toString cfg.ssh.port}
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    AuthorizedKeysFile %h/.ssh/authorized_keys /etc/ssh/authorized_keys.d/%u
  ''
  + lib.concatMapStrings (path: "HostKey ${keyPath path}\n") cfg.ssh.hostKeys
  + several "KexAlgorithms" (sshd.KexAlgorithms or null)
  + several "Ciphers" (sshd.Ciphers or null)
  + several "MACs" (sshd.Macs or null)
  + cfg.ssh.extraConfig;
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

  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = cfg.postCommands == "" || !config.boot.initrd.systemd.enable;
          message = "systemd stage 1 does not support 'boot.initrd.network.postCommands'. Please convert it to analogous systemd units in 'boot.initrd.systemd'.";
        }
      ];
      boot.initrd.systemd.contents = lib.mkIf (config.boot.initrd.systemd.network.enable && cfg.udhcpc.enable) {
        "/etc/systemd/network/99-ethernet-default-dhcp.network".text = ''
          [Match]
          Type=ether
          Kind=!*

          [Network]
          DHCP=yes
          IPv6PrivacyExtensions=kernel
        '';
      };
    }
    (lib.mkIf (config.boot.initrd.systemd.network.enable && cfg.ssh.enable) {
    boot.initrd.secrets = lib.listToAttrs (
      map (path: lib.nameValuePair (keyPath path) path) cfg.ssh.hostKeys
    );
    boot.initrd.systemd.contents = {
      "/etc/ssh/sshd_config".text = sshdConfig;
      "/etc/ssh/authorized_keys.d/root".text = lib.concatLines (
        cfg.ssh.authorizedKeys ++ map builtins.readFile cfg.ssh.authorizedKeyFiles
      );
    };
    boot.initrd.systemd.services.sshd = {
      description = "SSH Daemon";
      wantedBy = [ "initrd.target" ];
      after = [ "network.target" ];
      before = [ "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      # Debian's sshd wants a folder of its own, that of nixpkgs /var/empty.
      preStart = "mkdir -p /run/sshd";
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        ExecStart = "/usr/bin/sshd -D -f /etc/ssh/sshd_config";
        Type = "simple";
        KillMode = "process";
        Restart = "on-failure";
      };
    };
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
    })
  ];
}
