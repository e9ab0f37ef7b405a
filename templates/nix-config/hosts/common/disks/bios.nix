# For a machine that is started by a BIOS, beside a layout of this folder: GRUB in the
# place of systemd-boot, and room for its code on the disk.
{ lib, ... }:
{
  # disko has GRUB installed on the disk that has such a partition.
  disko.devices.disk.main.content.partitions.bios = {
    priority = 0;
    size = "1M";
    type = "EF02";
  };

  boot.loader = {
    systemd-boot.enable = lib.mkForce false;
    grub = {
      enable = true;
      # Each generation puts a kernel and an initrd on /boot. GRUB reads the ESP as well.
      configurationLimit = 10;
      # The menu is on the serial port too, where there is one. It can be edited: who is at
      # the keyboard gets a root shell of what is not encrypted. boot.loader.grub.users
      # asks for a password.
      extraConfig = ''
        if serial --unit=0 --speed=115200; then
          terminal_input --append serial
          terminal_output --append serial
        fi
      '';
    };
  };
}
