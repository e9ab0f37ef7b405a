# The firewall's options. Ports are opened for declared services as in NixOS; the miniature has
# no packet filter, so that nothing else is closed.
{ lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool strings;

  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
    apply = list: lib.unique (lib.naturalSort list);
    description = "Open ports.";
  };
  range = types.submodule {
    options = lib.genAttrs [ "from" "to" ] (
      _:
      mkOption {
        type = types.port;
        description = "One end of the range.";
      }
    );
  };
  ranges = mkOption {
    type = types.listOf range;
    default = [ ];
    description = "Open ranges of ports.";
  };
  openings = {
    allowedTCPPorts = ports;
    allowedUDPPorts = ports;
    allowedTCPPortRanges = ranges;
    allowedUDPPortRanges = ranges;
  };
in
{
  options.networking.firewall = openings // {
    enable = bool true "Whether packets are filtered.";
    allowPing = bool true "Whether the machine answers pings.";
    checkReversePath = mkOption {
      type = types.either types.bool (
        types.enum [
          "strict"
          "loose"
        ]
      );
      default = true;
      description = "Whether packets must come the way that answers go.";
    };
    trustedInterfaces = strings [ ] "Interfaces that are not filtered.";
    interfaces = mkOption {
      type = types.attrsOf (types.submodule { options = openings; });
      default = { };
      description = "Ports that are open on one interface.";
    };
  };

  options.networking.nftables.enable = bool false "Whether nftables does the filtering.";
}
