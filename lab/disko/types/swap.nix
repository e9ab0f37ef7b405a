# A swap partition.
{ lib, tools }:
let
  inherit (lib) mkOption types;
in
{
  options =
    { device, ... }:
    {
      device = tools.string device "The device.";
      extraArgs = tools.strings [ ] "Arguments of mkswap.";
      mountOptions = tools.strings [ "defaults" ] "Options in fstab.";
      priority = mkOption {
        type = types.nullOr types.int;
        default = null;
        description = "Used before others with smaller numbers.";
      };
      discardPolicy = mkOption {
        type = types.nullOr (
          types.enum [
            "once"
            "pages"
            "both"
          ]
        );
        default = null;
        description = "When freed pages are reported to the disk.";
      };
      randomEncryption = mkOption {
        type = types.bool;
        default = false;
        description = "Whether a new key encrypts the swap at each boot.";
      };
      resumeDevice = mkOption {
        type = types.bool;
        default = false;
        description = "Whether a suspended system is kept here.";
      };
    };

  create = swap: ''
    if ! blkid -o export ${swap.device} | grep -q '^TYPE='; then
      mkswap ${lib.escapeShellArgs swap.extraArgs} ${swap.device}
    fi
  '';

  mount = swap: {
    fs.${swap.device} = lib.optionalString (!swap.randomEncryption) ''
      if ! swapon --show=NAME --noheadings | grep -q "^$(readlink -f ${swap.device})\$"; then
        swapon ${swap.device}
      fi
    '';
  };

  close = swap: ''
    if swapon --show=NAME --noheadings | grep -q "^$(readlink -f ${swap.device})\$"; then
      swapoff ${swap.device}
    fi
  '';

  config =
    swap:
    [
      {
        swapDevices = [
          {
            inherit (swap)
              device
              discardPolicy
              priority
              randomEncryption
              ;
            options = swap.mountOptions;
          }
        ];
      }
    ]
    ++ lib.optional swap.resumeDevice { boot.resumeDevice = swap.device; };

  packages = _: pkgs: [ pkgs.util-linux ];
}
