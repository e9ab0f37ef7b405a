# Who may log in, and the programs that run with more rights than their caller.
{ lib, ... }:
let
  # pam_unix alone decides; /etc/environment gives the PATH.
  service = ''
    auth     sufficient pam_unix.so try_first_pass
    auth     required   pam_deny.so
    account  required   pam_unix.so
    password required   pam_unix.so yescrypt
    session  required   pam_env.so conffile=/etc/security/pam_env.conf readenv=1
    session  required   pam_unix.so
  '';
  services = [
    "chpasswd"
    "login"
    "other"
    "passwd"
    "sshd"
    "sudo"
    "systemd-user"
  ];
in
{
  environment.etc = {
    "security/pam_env.conf".text = "";
    "pam.d/su".text = "auth sufficient pam_rootok.so\n" + service;
  }
  // lib.listToAttrs (map (name: lib.nameValuePair "pam.d/${name}" { text = service; }) services);

  # /run is mounted nosuid: the wrappers get a mount of their own.
  system.activationScripts.wrappers = {
    deps = [ "specialfs" "users" ];
    text = ''
      if ! mountpoint -q /run/wrappers; then
        mkdir -p /run/wrappers
        mount -t tmpfs -o mode=755,size=16m,nodev tmpfs /run/wrappers
      fi
      mkdir -p /run/wrappers/bin
      for program in sudo su passwd mount umount; do
        cp -Lf "/usr/bin/$program" "/run/wrappers/bin/.$program"
        chmod 4511 "/run/wrappers/bin/.$program"
        mv -f "/run/wrappers/bin/.$program" "/run/wrappers/bin/$program"
      done
    '';
  };
}
