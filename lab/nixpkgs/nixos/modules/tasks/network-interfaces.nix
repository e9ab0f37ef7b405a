# The machine's name and its interfaces, all through systemd-networkd.
{
  config,
  lib,
  options,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool nullOr string strings;
  cfg = config.networking;

  address =
    bits:
    types.submodule {
      options = {
        address = mkOption {
          type = types.str;
          description = "The address.";
        };
        prefixLength = mkOption {
          type = types.ints.between 0 bits;
          description = "How many bits name the network.";
        };
      };
    };
  addresses =
    bits:
    mkOption {
      type = types.listOf (address bits);
      default = [ ];
      description = "Addresses of the interface.";
    };

  interface =
    { name, ... }:
    {
      options = {
        name = string name "The name of the interface.";
        useDHCP = nullOr types.bool "Whether the interface asks for an address.";
        ipv4.addresses = addresses 32;
        ipv6.addresses = addresses 128;
        macAddress = nullOr types.str "Another hardware address.";
        mtu = nullOr types.int "The largest packet.";
        wakeOnLan.enable = bool false "Whether a packet may switch the machine on.";
      };
    };

  gateway = mkOption {
    type = types.nullOr (
      types.coercedTo types.str (address: { inherit address; }) (
        types.submodule {
          options = {
            address = mkOption {
              type = types.str;
              description = "The address.";
            };
            interface = nullOr types.str "The interface it is behind.";
          };
        }
      )
    );
    default = null;
    description = "The default gateway.";
  };

  gateways = lib.filter (g: g != null) [
    cfg.defaultGateway
    cfg.defaultGateway6
  ];

  networkOf = i: {
    name = "40-${i.name}";
    value = {
      matchConfig.Name = i.name;
      address = map (a: "${a.address}/${toString a.prefixLength}") (i.ipv4.addresses ++ i.ipv6.addresses);
      DHCP = lib.mkIf (i.useDHCP != null) (if i.useDHCP then "yes" else "no");
      gateway = map (g: g.address) (
        lib.filter (g: g.interface == i.name || g.interface == null) gateways
      );
      linkConfig =
        lib.optionalAttrs (i.mtu != null) { MTUBytes = i.mtu; }
        // lib.optionalAttrs (i.macAddress != null) { MACAddress = i.macAddress; };
    };
  };
in
{
  options.networking = {
    hostName = mkOption {
      type = types.strMatching "|[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?";
      default = config.system.nixos.distroId;
      description = "The name of the machine, without a domain.";
    };
    domain = nullOr types.str "The domain.";
    fqdn = mkOption {
      type = types.str;
      default =
        if cfg.hostName != "" && cfg.domain != null then
          "${cfg.hostName}.${cfg.domain}"
        else
          throw "networking.fqdn is not known: set networking.hostName and networking.domain.";
      description = "The name with its domain.";
    };
    fqdnOrHostName = mkOption {
      type = types.str;
      readOnly = true;
      default =
        if options.networking.fqdn.highestPrio < 1500 || cfg.domain != null then cfg.fqdn else cfg.hostName;
      description = "The name with its domain, where there is one.";
    };
    hostId = nullOr (types.strMatching "[0-9a-fA-F]{8}") "Eight hexadecimal digits that name the machine; ZFS wants them.";
    useDHCP = bool true "Whether interfaces that are not declared ask for an address.";
    useNetworkd = bool false "Whether systemd-networkd manages the interfaces.";
    enableIPv6 = bool true "Whether IPv6 is used.";
    usePredictableInterfaceNames = bool true "Whether interfaces are named after their place.";
    dhcpcd.enable = bool true "Whether dhcpcd may run.";
    nameservers = strings [ ] "DNS servers.";
    search = strings [ ] "Domains tried for short names.";
    defaultGateway = gateway;
    defaultGateway6 = gateway;
    interfaces = mkOption {
      type = types.attrsOf (types.submodule interface);
      default = { };
      description = "Interfaces.";
    };
  };

  config = {
    systemd.network = lib.mkMerge [
      {
        enable = lib.mkIf (cfg.useNetworkd || cfg.useDHCP || cfg.interfaces != { }) (lib.mkDefault true);
        networks = lib.listToAttrs (map networkOf (lib.attrValues cfg.interfaces));
      }
      (lib.mkIf cfg.useDHCP {
        networks."99-ethernet-default-dhcp" = {
          matchConfig = {
            Type = "ether";
            Kind = "!*";
          };
          DHCP = "yes";
          networkConfig.IPv6PrivacyExtensions = "kernel";
        };
      })
    ];

    environment.etc.hostname = lib.mkIf (cfg.hostName != "") { text = cfg.hostName + "\n"; };
    environment.etc.hostid = lib.mkIf (cfg.hostId != null) { text = cfg.hostId + "\n"; };
    boot.kernelParams = lib.mkIf (!cfg.usePredictableInterfaceNames) [ "net.ifnames=0" ];
    boot.kernel.sysctl = lib.mkIf (!cfg.enableIPv6) { "net.ipv6.conf.all.disable_ipv6" = true; };
  };
}
