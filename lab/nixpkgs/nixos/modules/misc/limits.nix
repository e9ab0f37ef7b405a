# What the miniature declares, as NixOS does, but cannot do. Setting such an option fails the build
# rather than being passed over: a lab that pretends proves nothing.
{ lib, options, ... }:
let
  limited = map (lib.splitString ".") [
    "boot.extraModulePackages"
    "boot.initrd.compressor"
    "boot.initrd.compressorArgs"
    "boot.initrd.network.flushBeforeStage2"
    "boot.initrd.systemd.emergencyAccess"
    "boot.initrd.systemd.extraBin"
    "boot.initrd.systemd.settings.Manager"
    "boot.initrd.systemd.tpm2.enable"
    "boot.initrd.verbose"
    "boot.isContainer"
    "boot.loader.grub.efiInstallAsRemovable"
    "boot.loader.grub.efiSupport"
    "boot.loader.grub.enableCryptodisk"
    "boot.loader.grub.extraFiles"
    "boot.loader.grub.extraPrepareConfig"
    "boot.loader.grub.fsIdentifier"
    "boot.loader.grub.gfxmodeBios"
    "boot.loader.grub.splashImage"
    "boot.loader.grub.theme"
    "boot.loader.grub.useOSProber"
    "boot.loader.grub.zfsSupport"
    "boot.loader.systemd-boot.consoleMode"
    "boot.loader.systemd-boot.extraEntries"
    "boot.loader.systemd-boot.extraFiles"
    "boot.loader.systemd-boot.extraInstallCommands"
    "boot.nixStoreMountOpts"
    "boot.postBootCommands"
    "boot.readOnlyNixStore"
    "boot.resumeDevice"
    "console.earlySetup"
    "hardware.firmware"
    "networking.nftables.enable"
    "security.sudo.execWheelOnly"
    "services.udev.enable"
    "services.udev.packages"
    "system.checks"
    "system.systemBuilderCommands"
    "systemd.defaultUnit"
    "systemd.enableEmergencyMode"
    "systemd.packages"
    "systemd.suppressedSystemUnits"
    "systemd.user.services"
    "systemd.user.targets"
    "systemd.user.timers"
    "time.hardwareClockInLocalTime"
  ];

  check =
    path:
    let
      option = lib.getAttrFromPath path options;
    in
    {
      assertion = option.value == option.default or { };
      message = "${option} is set in ${lib.showFiles option.files}, but the miniature nixpkgs cannot do it.";
    };
in
{
  assertions = map check limited;
}
