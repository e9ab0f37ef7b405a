# GRUB, which is on until another boot loader is chosen. The miniature has the one for BIOS: what
# UEFI, themes, encrypted boot partitions and other systems need is declared, and refused.
{
  config,
  lib,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool int lines nullOr string strings;
  cfg = config.boot.loader.grub;
  efi = config.boot.loader.efi;

  mirror = {
    options = {
      path = mkOption {
        type = types.str;
        description = "The folder for the menu and the kernels.";
      };
      efiSysMountPoint = nullOr types.str "Where the ESP is mounted, if not there.";
      efiBootloaderId = nullOr types.str "The name of the firmware's boot entry.";
      devices = strings [ ] "The disks that it starts from.";
    };
  };
  choice =
    values: default: description:
    mkOption {
      type = types.enum values;
      inherit default description;
    };
in
{
  options.boot.loader.grub = {
    enable = bool (!config.boot.isContainer) "Whether GRUB starts the system.";
    device = string "" "The disk it is installed to; `nodev` for a menu alone.";
    devices = strings [ ] "The disks it is installed to.";
    mirroredBoots = mkOption {
      type = types.listOf (types.submodule mirror);
      default = [ ];
      description = "Several boot folders, each with its disks.";
    };
    configurationLimit = int 100 "How many generations the menu shows at most.";
    default = mkOption {
      type = types.either types.int types.str;
      default = "0";
      apply = toString;
      description = "The entry that is started, counted from 0.";
    };
    timeoutStyle = choice [ "menu" "countdown" "hidden" ] "menu" "What is shown until the time is over.";
    entryOptions = mkOption {
      type = types.nullOr types.str;
      default = "--class nixos --unrestricted";
      description = "Options of the first entry.";
    };
    subEntryOptions = mkOption {
      type = types.nullOr types.str;
      default = "--class nixos";
      description = "Options of the entries of all generations.";
    };
    copyKernels = bool false "Whether kernels are copied even where /boot is on the store's file system.";
    forceInstall = bool false "Whether it is installed against its own advice.";
    extraGrubInstallArgs = strings [ ] "Arguments of grub-install.";
    extraInstallCommands = lines "Shell commands after it is installed.";
    extraConfig = lines "Commands of GRUB before the entries.";
    extraPerEntryConfig = lines "Commands of GRUB in each entry.";
    extraEntries = lines "Further entries of the menu.";
    extraEntriesBeforeNixOS = bool false "Whether the further entries come first.";

    efiSupport = bool false "Whether it is installed for UEFI.";
    efiInstallAsRemovable = bool false "Whether it is installed where firmware looks on removable drives.";
    enableCryptodisk = bool false "Whether it opens encrypted partitions.";
    extraFiles = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = "Further files of /boot.";
    };
    extraPrepareConfig = lines "Shell commands before the menu is made.";
    fsIdentifier = choice [ "uuid" "label" "provided" ] "uuid" "How it finds file systems.";
    gfxmodeBios = string "1024x768" "The resolution of the menu.";
    splashImage = nullOr types.path "The picture behind the menu; null for text alone.";
    theme = nullOr types.path "The looks of the menu.";
    useOSProber = bool false "Whether other systems are looked for.";
    zfsSupport = bool false "Whether it reads ZFS.";
  };

  config = lib.mkIf cfg.enable {
    boot.loader.grub.devices = lib.optional (cfg.device != "") cfg.device;
    boot.loader.grub.mirroredBoots = lib.optional (cfg.devices != [ ]) {
      path = "/boot";
      inherit (efi) efiSysMountPoint;
      inherit (cfg) devices;
    };
    assertions = [
      {
        assertion = cfg.mirroredBoots != [ ];
        message =
          "You must set the option boot.loader.grub.devices or boot.loader.grub.mirroredBoots, "
          + "or another boot loader, to make the system bootable.";
      }
      {
        assertion = cfg.default != "saved";
        message = "boot.loader.grub.default: the miniature nixpkgs cannot do `saved'.";
      }
    ]
    ++ lib.concatMap (boot: [
      {
        assertion = boot.devices != [ ];
        message = "A boot path cannot have an empty devices string in ${boot.path}";
      }
      {
        assertion = lib.all (device: device == "nodev" || lib.hasPrefix "/" device) boot.devices;
        message = "GRUB devices must be absolute paths: ${toString boot.devices} in ${boot.path}";
      }
      {
        assertion = cfg.copyKernels || config.fileSystems ? ${boot.path};
        message =
          "boot.loader.grub: the miniature nixpkgs always copies kernels to ${boot.path}; "
          + "mount a file system there, or set copyKernels.";
      }
    ]) cfg.mirroredBoots;
  };
}
