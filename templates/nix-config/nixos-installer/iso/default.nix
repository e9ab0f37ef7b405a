# The installer image: the official minimal one, opened to the keys of the
# operator and to nothing else.
{ modulesPath, pkgs, ... }:
{
  imports = [
    "${modulesPath}/installer/cd-dvd/installation-cd-minimal.nix"
    ../../hosts/common/core/nix.nix
    ../../hosts/common/core/openssh.nix
  ];

  nixpkgs.hostPlatform = "x86_64-linux";
  networking.hostName = "installer";

  users.users.root.openssh.authorizedKeys.keyFiles = [ ../../hosts/common/users/authorized_keys ];

  services.openssh.settings.PermitRootLogin = "prohibit-password";

  # The image makes its host key when it starts. Shown on the console, it can be
  # compared with what the first connection sees.
  systemd.services.show-host-key = {
    description = "Show the fingerprint of the SSH host key";
    wantedBy = [ "multi-user.target" ];
    wants = [ "sshd.service" ];
    after = [ "sshd.service" ];
    serviceConfig = {
      Type = "oneshot";
      StandardOutput = "journal+console";
    };
    # The console is the serial port where there is one; tty1 is the screen.
    script = ''
      fingerprint=$(${pkgs.openssh}/bin/ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub)
      echo "SSH host key: $fingerprint" | tee /dev/tty1
    '';
  };

  # Screen and serial port both.
  boot.kernelParams = [
    "console=tty0"
    "console=ttyS0,115200"
  ];

  # Builds in a fraction of the time of the default, for a few per cent more size.
  isoImage.squashfsCompression = "zstd -Xcompression-level 3";
}
