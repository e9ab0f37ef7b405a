# What activation does before anything else: mount points, /usr and the folders of a NixOS root.
{ config, pkgs, lib, ... }:
{
  system.activationScripts = {
    specialfs.text = ''
      mkdir -p /etc /run /tmp /var /var/log /var/lib /var/empty /var/tmp
      chmod 1777 /tmp /var/tmp
      # systemd wants to find it when it starts.
      [ -s /etc/machine-id ] || systemd-machine-id-setup > /dev/null 2>&1 || true
    '';
    var.text = ''
      mkdir -p /nix/var/nix/gcroots /nix/var/nix/profiles /nix/var/nix/daemon-socket
      ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
      ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system
      touch /var/log/lastlog
    '';
    usrbinenv.text = "";
    binsh.text = "";
    hostname = {
      deps = [ "etc" ];
      text = ''
        [ -n "''${IN_NIXOS_ENTER:-}" ] || [ ! -e /etc/hostname ] || hostname -F /etc/hostname
      '';
    };
  };

  # Debian's programs know fixed paths only: /usr is the system's own tree of programs.
  system.build.mountUsr = pkgs.writeScript "mount-usr" ''
    #!${pkgs.busybox}/bin/sh
    PATH=${pkgs.busybox}/bin
    for dir in proc sys dev run usr; do [ -d /$dir ] || mkdir /$dir; done
    [ -e /proc/self ] || mount -t proc proc /proc
    for dir in bin sbin lib lib64; do
      [ -L /$dir ] || ln -s usr/$dir /$dir
    done
    tree=$(readlink -f "$1/sw")
    if ! [ /usr -ef "$tree" ]; then
      ! grep -q " /usr " /proc/mounts || umount -l /usr
      mount --bind "$tree" /usr
    fi
  '';
}
