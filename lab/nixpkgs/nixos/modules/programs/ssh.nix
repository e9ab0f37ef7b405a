# The SSH client: hosts that all users know, settings for all.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr strings;
  cfg = config.programs.ssh;

  knownHost =
    { name, config, ... }:
    {
      options = {
        hostNames = strings ([ name ] ++ config.extraHostNames) "Names and addresses of the host.";
        extraHostNames = strings [ ] "Further names.";
        publicKey = nullOr types.str "Its public key.";
        publicKeyFile = nullOr types.path "A file with its public key.";
        certAuthority = bool false "Whether the key signs those of hosts.";
      };
    };

  line =
    host:
    lib.optionalString host.certAuthority "@cert-authority "
    + "${lib.concatStringsSep "," host.hostNames} ${
      lib.trim (if host.publicKey != null then host.publicKey else builtins.readFile host.publicKeyFile)
    }\n";
in
{
  options.programs.ssh = {
    knownHosts = mkOption {
      type = types.attrsOf (types.submodule knownHost);
      default = { };
      description = "Host keys that all users know.";
    };
    extraConfig = lines "Text of ssh_config.";
    startAgent = bool false "Whether sessions get an agent.";
  };

  config = {
    environment.etc."ssh/ssh_known_hosts".text = lib.concatMapStrings line (
      lib.attrValues cfg.knownHosts
    );
    environment.etc."ssh/ssh_config".text = ''
      ${cfg.extraConfig}
      Host *
      GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
    '';
    assertions = [
      {
        assertion = !cfg.startAgent;
        message = "programs.ssh.startAgent: the miniature nixpkgs has no agent for sessions.";
      }
    ]
    ++ lib.mapAttrsToList (name: host: {
      assertion = (host.publicKey == null) != (host.publicKeyFile == null);
      message = "programs.ssh.knownHosts.${name}: set exactly one of publicKey and publicKeyFile.";
    }) cfg.knownHosts;
  };
}
