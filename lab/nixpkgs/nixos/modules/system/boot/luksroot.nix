# LUKS containers that the initrd opens.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool nullOr string;
  cfg = config.boot.initrd.luks;

  container =
    { name, ... }:
    {
      options = {
        name = string name "The name below /dev/mapper.";
        device = mkOption {
          type = types.str;
          description = "The encrypted device.";
        };
        header = nullOr types.str "A file with the header.";
        keyFile = nullOr types.str "A key file in the initrd.";
        keyFileSize = nullOr types.int "How many bytes of the key file count.";
        keyFileOffset = nullOr types.int "Where the key begins in its file.";
        keyFileTimeout = nullOr types.int "Seconds to wait for the key file.";
        allowDiscards = bool false "Whether the disk learns what is free.";
        bypassWorkqueues = bool false "Whether the kernel's queues are bypassed.";
        fallbackToPassword = bool config.boot.initrd.systemd.enable "Whether a passphrase is asked for when the key file fails.";
        preLVM = bool true "Whether it is opened before LVM.";
        tryEmptyPassphrase = bool false "Whether an empty passphrase is tried first.";
        crypttabExtraOpts = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
          description = "Further options of crypttab.";
        };
      };
    };
in
{
  options.boot.initrd.luks = {
    devices = mkOption {
      type = types.attrsOf (types.submodule container);
      default = { };
      description = "Containers, by the name they get.";
    };
    forceLuksSupportInInitrd = bool false "Whether the initrd has what it needs for LUKS anyway.";
    cryptoModules = mkOption {
      type = types.listOf types.str;
      default = [
        "aes"
        "aes_generic"
        "cbc"
        "xts"
        "ecb"
        "sha1"
        "sha256"
        "sha512"
        "af_alg"
        "algif_skcipher"
        "cryptd"
        "aesni_intel"
      ];
      description = "Modules for the ciphers.";
    };
  };

  config = lib.mkIf (cfg.devices != { } || cfg.forceLuksSupportInInitrd) {
    boot.initrd.availableKernelModules = [
      "dm_mod"
      "dm_crypt"
      "cryptd"
    ]
    ++ cfg.cryptoModules;
    assertions = lib.mapAttrsToList (name: dev: {
      assertion = dev.keyFile == null || !lib.hasPrefix builtins.storeDir dev.keyFile;
      message = "boot.initrd.luks.devices.${name}.keyFile lies in the nix store, where everyone can read it.";
    }) cfg.devices;
  };
}
