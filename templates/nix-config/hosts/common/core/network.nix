# DHCP on every wired interface, through systemd-networkd. Shared with
# nixos-installer: the host keeps its address when the full system takes over.
{
  networking = {
    useNetworkd = true;
    useDHCP = true;
  };
}
