# A system that other systems are installed from: anyone at the console is root.
{ lib, pkgs, ... }:
{
  # What lies on the disks of a machine's former life can be seen, and taken apart.
  environment.systemPackages = [
    pkgs.lvm2
    pkgs.mdadm
  ];

  system.nixos.variant_id = lib.mkDefault "installer";

  users.users.nixos = {
    isNormalUser = true;
    extraGroups = [
      "wheel"
      "video"
    ];
    # Empty: nothing is asked for at the console; sshd lets nobody in with it.
    initialHashedPassword = "";
  };
  users.users.root.initialHashedPassword = "";

  security.sudo.wheelNeedsPassword = lib.mkImageMediaOverride false;
  services.getty.autologinUser = "nixos";
  services.getty.helpLine = ''
    The accounts "nixos" and "root" have empty passwords here at the console.
    Over SSH they open by key: put yours into /root/.ssh/authorized_keys.
  '';

  services.openssh = {
    enable = lib.mkDefault true;
    settings.PermitRootLogin = lib.mkDefault "yes";
    # An RSA key takes an emulated machine longer than all the rest of the boot.
    hostKeys = lib.mkDefault [
      {
        type = "ed25519";
        path = "/etc/ssh/ssh_host_ed25519_key";
      }
    ];
  };
}
