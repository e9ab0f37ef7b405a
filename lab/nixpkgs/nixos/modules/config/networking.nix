# Names: /etc/hosts, DNS servers.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) lines strings;
  cfg = config.networking;
in
{
  options.networking = {
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      description = "Names of addresses.";
    };
    extraHosts = lines "Lines added to /etc/hosts.";
    timeServers = strings (map (n: "${toString n}.nixos.pool.ntp.org") (lib.range 0 3)) "Servers that tell the time.";
  };

  config = {
    networking.hosts = {
      "127.0.0.1" = [ "localhost" ];
      "::1" = [ "localhost" ];
      "127.0.0.2" = lib.optionals (cfg.hostName != "") (
        lib.optional (cfg.fqdnOrHostName != cfg.hostName) cfg.fqdnOrHostName ++ [ cfg.hostName ]
      );
    };
    environment.etc.hosts.text = lib.concatStrings (
      lib.mapAttrsToList (
        address: names: lib.optionalString (names != [ ]) "${address} ${toString names}\n"
      ) cfg.hosts
    ) + cfg.extraHosts;
    environment.etc."nsswitch.conf".text = ''
      passwd: files systemd
      group: files [success=merge] systemd
      shadow: files systemd
      hosts: files myhostname resolve [!UNAVAIL=return] dns
      networks: files
      ethers: files
      services: files
      protocols: files
      rpc: files
    '';
  };
}
