# systemd-networkd: its networks, virtual devices and links as files of /etc/systemd/network.
{
  config,
  lib,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr strings;
  inherit (utils.systemdUtils) sectionText;
  inherit (utils.systemdUtils.unitOptions) section;
  cfg = config.systemd.network;

  sections = mkOption {
    type = types.listOf section.type;
    default = [ ];
    description = "One section for each element.";
  };
  names = strings [ ] "Values of the Network section.";
  common = {
    enable = bool true "Whether the file exists.";
    matchConfig = section;
    extraConfig = lines "Text at the end of the file.";
  };

  network = {
    options = common // {
      name = nullOr types.str "The name of the interface.";
      DHCP = nullOr types.str "Whether to ask for addresses.";
      address = names;
      gateway = names;
      dns = names;
      ntp = names;
      domains = nullOr (types.listOf types.str) "Search domains.";
      linkConfig = section;
      networkConfig = section;
      dhcpV4Config = section;
      dhcpV6Config = section;
      ipv6AcceptRAConfig = section;
      routes = sections;
      addresses = sections;
    };
  };

  networkText =
    n:
    sectionText "Match" (n.matchConfig // lib.optionalAttrs (n.name != null) { Name = n.name; })
    + sectionText "Link" n.linkConfig
    + sectionText "Network" (
      n.networkConfig
      // lib.optionalAttrs (n.DHCP != null) { inherit (n) DHCP; }
      // lib.optionalAttrs (n.address != [ ]) { Address = n.address; }
      // lib.optionalAttrs (n.gateway != [ ]) { Gateway = n.gateway; }
      // lib.optionalAttrs (n.dns != [ ]) { DNS = n.dns; }
      // lib.optionalAttrs (n.ntp != [ ]) { NTP = n.ntp; }
      // lib.optionalAttrs (n.domains != null) { Domains = toString n.domains; }
    )
    + lib.concatMapStrings (sectionText "Address") n.addresses
    + lib.concatMapStrings (sectionText "Route") n.routes
    + sectionText "DHCPv4" n.dhcpV4Config
    + sectionText "DHCPv6" n.dhcpV6Config
    + sectionText "IPv6AcceptRA" n.ipv6AcceptRAConfig
    + n.extraConfig;

  files =
    suffix: toText: set:
    lib.mapAttrs' (
      name: value: lib.nameValuePair "systemd/network/${name}.${suffix}" { text = toText value; }
    ) (lib.filterAttrs (_: v: v.enable) set);
in
{
  options.systemd.network = {
    enable = bool false "Whether systemd-networkd runs.";
    networks = mkOption {
      type = types.attrsOf (types.submodule network);
      default = { };
      description = "How interfaces are set up.";
    };
    netdevs = mkOption {
      type = types.attrsOf (types.submodule { options = common // { netdevConfig = section; }; });
      default = { };
      description = "Virtual devices.";
    };
    links = mkOption {
      type = types.attrsOf (types.submodule { options = common // { linkConfig = section; }; });
      default = { };
      description = "Names and hardware settings of interfaces.";
    };
    wait-online = {
      enable = bool true "Whether network-online.target waits for an interface.";
      anyInterface = bool config.networking.useDHCP "Whether one interface is enough.";
      timeout = mkOption {
        type = types.ints.unsigned;
        default = 120;
        description = "Seconds to wait.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    environment.etc =
      files "network" networkText cfg.networks
      // files "netdev" (n: sectionText "Match" n.matchConfig + sectionText "NetDev" n.netdevConfig + n.extraConfig) cfg.netdevs
      // files "link" (n: sectionText "Match" n.matchConfig + sectionText "Link" n.linkConfig + n.extraConfig) cfg.links;
    services.resolved.enable = lib.mkDefault true;
  };
}
