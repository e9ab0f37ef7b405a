# The installer as a tarball that any Linux unpacks and runs: kexec/run loads the kernel beside it
# with its own kexec, and hands over host keys, authorized keys and fixed addresses.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  inherit (config.system) build;
  kernel = config.boot.kernelPackages.kernel;
in
{
  imports = [ "${modulesPath}/installer/netboot/netboot-minimal.nix" ];

  options.system.kexec-installer.name = lib.mkOption {
    type = lib.types.str;
    default = "nixos-kexec-installer";
    description = "The name of the tarball, before the platform.";
  };

  config = {
    networking.hostName = lib.mkDefault "installer";
    # Whoever could log in before is let in afterwards; their keys come with the kexec.
    services.openssh.settings.PermitRootLogin = lib.mkForce "prohibit-password";
    boot.kernelParams = [
      "console=tty0"
      "console=ttyS0,115200"
    ];
    environment.etc.is_kexec.text = "true";

    system.build.kexecTarball =
      pkgs.runCommand "kexec-tarball"
        {
          fileName = "${config.system.kexec-installer.name}-${pkgs.stdenv.hostPlatform.system}.tar.gz";
          initrd = build.netbootRamdisk;
          kernel = "${kernel}/bzImage";
          kexec = pkgs.components.kexec-bundle;
          run = ./run.sh;
          params = "init=${build.toplevel}/init ${toString config.boot.kernelParams}";
        }
        ''
          mkdir kexec
          cp "$initrd/initrd" kexec/initrd
          cp "$kernel" kexec/bzImage
          cp -R "$kexec/." kexec/
          sed "s|@params@|$params|" "$run" > kexec/run
          chmod -R u+w kexec
          chmod 755 kexec/run
          find kexec -exec touch -hd @1 {} +
          mkdir "$out"
          # The squashfs in the initrd is packed already.
          tar -cf - kexec | gzip -1n > "$out/$fileName"
        '';
  };
}
