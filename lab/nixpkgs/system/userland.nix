# The programs and files that every system has, and /usr.
#
# Debian's programs look for their libraries and helpers in /usr. `sw` of a system therefore holds
# all that its packages need, and is mounted on /usr when the system starts (activation.nix).
{
  config,
  lib,
  pkgs,
  ...
}:
let
  always = [
    "btrfs-progs"
    "ca-certificates"
    "cpio"
    "cryptsetup-bin"
    "curl"
    "dbus"
    "diffutils"
    "dmsetup"
    "dosfstools"
    "e2fsprogs"
    "efibootmgr"
    "gawk"
    "gdisk"
    "hostname"
    "iputils-ping"
    "jq"
    "kexec-tools"
    "kmod"
    "libpam-modules"
    "ncurses-base"
    "parted"
    "perl-base"
    "shadow"
    "ssh-to-age"
    "sops"
    "systemd"
    "systemd-boot-efi"
    "systemd-cryptsetup"
    "tmux"
    "udev"
    "xz-utils"
    "zstd"
  ];
  kernel = config.boot.kernelPackages.kernel;

  # Rules for hardware that no guest of the lab has. Under emulation each costs time at every event.
  otherHardware = [
    "60-autosuspend"
    "60-drm"
    "60-evdev"
    "60-fido-id"
    "60-infiniband"
    "60-input-id"
    "60-persistent-alsa"
    "60-persistent-input"
    "60-persistent-storage-mtd"
    "60-persistent-storage-tape"
    "60-persistent-v4l"
    "60-sensor"
    "64-ext4"
    "70-camera"
    "70-joystick"
    "70-memory"
    "70-mouse"
    "70-touchpad"
    "70-uaccess"
    "71-seat"
    "73-seat-late"
    "75-probe_mtd"
    "78-sound-card"
    "90-iocost"
    "96-e2scrub"
  ];

  systemUser = name: {
    isSystemUser = lib.mkDefault true;
    group = lib.mkDefault name;
    description = lib.mkDefault "Account of ${name}";
  };
  serviceUsers = [
    "messagebus"
    "sshd"
    "systemd-network"
  ];
in
{
  environment.systemPackages = map (name: pkgs.components.${name}) always;

  environment.extraSetup = ''
    rm -rf "$out/sbin" "$out/etc"
    (cd "$out/lib/udev/rules.d" && rm -f ${lib.concatMapStringsSep " " (rule: "${rule}.rules") otherHardware})
    ln -s bin "$out/sbin"
    ln -s ${kernel.modules}/lib/modules "$out/lib/modules"
    rm -rf "$out/share/zoneinfo"
    ln -s ${pkgs.tzdata}/share/zoneinfo "$out/share/zoneinfo"
    for name in awk; do ln -sf gawk "$out/bin/$name"; done
    for name in vi editor; do [ -e "$out/bin/$name" ] || ln -s nano "$out/bin/$name"; done
    [ ! -e "$out/bin/vim.tiny" ] || ln -sf vim.tiny "$out/bin/vim"
    for name in reboot poweroff halt shutdown; do ln -s systemctl "$out/bin/$name"; done
    for applet in which nc; do ln -sf ${pkgs.busybox}/bin/busybox "$out/bin/$applet"; done
    mkdir -p "$out/lib/locale"
    ln -sfn C.utf8 "$out/lib/locale/en_US.utf8"
  '';

  # Debian's nix would look for a package that is not here.
  nix.settings.sandbox-paths = [ "/bin/sh=${pkgs.bash}/bin/bash" ];

  users.users = lib.genAttrs serviceUsers systemUser;
  users.groups = lib.genAttrs serviceUsers (_: { });

  environment.etc = {
    "nsswitch.conf".text = ''
      passwd: files
      group: files
      shadow: files
      hosts: files dns
      services: files
      protocols: files
    '';
    "login.defs".text = ''
      ENCRYPT_METHOD YESCRYPT
      UID_MIN 1000
      UID_MAX 29999
      GID_MIN 1000
      GID_MAX 29999
      UMASK 077
      ENV_PATH PATH=/run/wrappers/bin:/run/current-system/sw/bin
      ENV_SUPATH PATH=/run/wrappers/bin:/run/current-system/sw/bin
    '';
    "ssl/certs/ca-certificates.crt".source =
      "${pkgs.components.ca-certificates}/etc/ssl/certs/ca-certificates.crt";
    "ssl/certs/ca-bundle.crt".source =
      "${pkgs.components.ca-certificates}/etc/ssl/certs/ca-certificates.crt";
    # What sshd sets before any shell reads a profile.
    environment.text = ''
      PATH=/run/wrappers/bin:/run/current-system/sw/bin
      SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
      NIX_SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
    '';
  };

  systemd.tmpfiles.rules = [
    "d /run/sshd 0755 root root - -"
    "d /tmp 1777 root root - -"
    "d /var/empty 0555 root root - -"
    "d /var/log 0755 root root - -"
    "d /var/tmp 1777 root root - -"
  ];
}
