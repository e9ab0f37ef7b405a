# The installer image: the official minimal one, opened to the keys of the
# operator and to nothing else.
{
  lib,
  modulesPath,
  pkgs,
  ...
}:
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

  # Room for what one copy of the image is given after it was built, by `landfall iso
  # build --customize`: a host key, more keys that may log in, Wi-Fi networks. It is written
  # over in the copy, so that no secret passes through the nix store. The text is what it is
  # found by.
  isoImage.contents = [
    {
      source = pkgs.writeText "room" (
        lib.concatStrings (
          builtins.genList (_: "landfall keeps this room for what one copy of an image is given\n") 1024
        )
      );
      target = "/landfall/custom";
    }
  ];

  # Lines `part NAME LENGTH`, each with so many bytes behind it. Wi-Fi networks are as
  # NetworkManager keeps them, which the official images run since 25.11; it ignores files
  # that others than root could read.
  systemd.services.landfall-custom = {
    description = "Take over what this copy of the image was given";
    wantedBy = [ "multi-user.target" ];
    before = [
      "sshd-keygen.service"
      "sshd.service"
      "NetworkManager.service"
    ];
    serviceConfig.Type = "oneshot";
    script = ''
      [ -e /iso/landfall/custom ] || exit 0
      exec < /iso/landfall/custom
      read -r magic
      [ "$magic" = landfall-custom-1 ] || exit 0
      mkdir -p /etc/ssh
      umask 077
      mkdir -p /root/.ssh
      while read -r word name length && [ "$word" = part ]; do
        ${pkgs.coreutils}/bin/dd bs=1 count="$length" status=none of=/run/landfall-part
        read -r _
        case $name in
          ssh_host_*) mv /run/landfall-part "/etc/ssh/$name" ;;
          authorized_keys) cat /run/landfall-part >> /root/.ssh/authorized_keys ;;
          *.nmconnection)
            mkdir -p /etc/NetworkManager/system-connections
            mv /run/landfall-part "/etc/NetworkManager/system-connections/$name"
            ;;
        esac
        rm -f /run/landfall-part
      done
    '';
  };

  # Without one of its own, the image makes its host key when it starts. Shown on the
  # console, it can be compared with what the first connection sees.
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
