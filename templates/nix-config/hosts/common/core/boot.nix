# Started by UEFI; what a BIOS needs instead is in ../disks/bios.nix. Shared with nixos-installer.
{
  boot = {
    loader = {
      systemd-boot = {
        enable = true;
        # Each generation puts a kernel and an initrd on the ESP.
        configurationLimit = 10;
        # The editor would let anyone at the keyboard boot into a root shell.
        editor = false;
      };
      efi.canTouchEfiVariables = true;
      timeout = 3;
    };

    initrd.systemd.enable = true;

    # Screen and serial port both: a virtual machine or a headless server can be
    # watched, and unlocked, from either. Without a serial port nothing changes.
    kernelParams = [
      "console=tty0"
      "console=ttyS0,115200"
    ];
  };
}
