# A LUKS container.
#
# The passphrase reaches cryptsetup through a descriptor, read from `passwordFile` the way disko
# reads it: without trailing newlines. `settings.keyFile` is a file for cryptsetup itself.
{ lib, tools }:
let
  inherit (lib) mkOption types;

  key =
    luks:
    if luks.settings ? keyFile then
      luks.settings.keyFile
    else if luks.askPassword then
      ''<(echo -n "$password")''
    else
      ''<(echo -n "$(cat ${luks.passwordFile})")'';

  keyArgs =
    luks:
    "--key-file ${key luks}"
    + lib.optionalString (luks.settings ? keyFileSize) " --keyfile-size ${toString luks.settings.keyFileSize}"
    + lib.optionalString (
      luks.settings ? keyFileOffset
    ) " --keyfile-offset ${toString luks.settings.keyFileOffset}";

  ask =
    { luks, twice }:
    lib.optionalString luks.askPassword ''
      askPassphrase ${luks.device}${lib.optionalString twice " twice"}
    '';

  open =
    luks: extra:
    lib.concatStringsSep " " (
      [ "cryptsetup open ${luks.device} ${luks.name}" ]
      ++ lib.optional (luks.settings.allowDiscards or false) "--allow-discards"
      ++ lib.optional (luks.settings.bypassWorkqueues or false) "--perf-no_read_workqueue --perf-no_write_workqueue"
      ++ luks.extraOpenArgs
      ++ [
        (keyArgs luks)
        extra
      ]
    );

  isOpen = luks: "cryptsetup status ${luks.name} > /dev/null 2>&1";
in
{
  options =
    { device, config, ... }:
    {
      device = tools.string device "The device.";
      name = mkOption {
        type = types.str;
        description = "The name below /dev/mapper.";
      };
      passwordFile = mkOption {
        type = types.nullOr tools.absolutePath;
        default = null;
        description = "A file with the passphrase, on the machine that formats.";
      };
      askPassword = mkOption {
        type = types.bool;
        default = config.passwordFile == null && !config.settings ? keyFile;
        description = "Whether the passphrase is asked for.";
      };
      settings = mkOption {
        type = types.attrsOf types.anything;
        default = { };
        description = "Options of boot.initrd.luks.devices.";
      };
      additionalKeyFiles = mkOption {
        type = types.listOf tools.absolutePath;
        default = [ ];
        description = "Files whose content opens the container too.";
      };
      initrdUnlock = mkOption {
        type = types.bool;
        default = true;
        description = "Whether the initrd opens the container.";
      };
      extraFormatArgs = tools.strings [ ] "Arguments of cryptsetup luksFormat.";
      extraOpenArgs = tools.strings [ ] "Arguments of cryptsetup open.";
      content = tools.contentOption {
        device = "/dev/mapper/${config.name}";
        parent = config;
      };
    };

  create = luks: ''
    if ! cryptsetup isLuks ${luks.device}; then
      ${
        ask {
          inherit luks;
          twice = true;
        }
      }cryptsetup -q luksFormat ${luks.device} ${toString luks.extraFormatArgs} ${keyArgs luks}
    ${lib.concatMapStrings (file: "  cryptsetup luksAddKey ${luks.device} ${file} ${keyArgs luks}\n") luks.additionalKeyFiles}fi
    if ! ${isOpen luks}; then
      ${
        lib.optionalString luks.askPassword ''[ -n "''${password+x}" ] || askPassphrase ${luks.device}''
      }
      ${open luks "--persistent"}
    fi
    ${tools.create luks.content}
  '';

  mount =
    luks:
    let
      inside = tools.mount luks.content;
    in
    {
      dev = ''
        if ! ${isOpen luks}; then
          ${
            ask {
              inherit luks;
              twice = false;
            }
          }${open luks ""}
        fi
        ${inside.dev}
      '';
      inherit (inside) fs;
    };

  close = luks: ''
    ${tools.close luks.content}
    if ${isOpen luks}; then
      cryptsetup close ${luks.name}
    fi
  '';

  config =
    luks:
    lib.optional luks.initrdUnlock {
      boot.initrd.luks.devices.${luks.name} = {
        inherit (luks) device;
      }
      // luks.settings;
    }
    ++ tools.config luks.content;

  packages = luks: pkgs: [ pkgs.cryptsetup ] ++ tools.packages luks.content pkgs;
}
