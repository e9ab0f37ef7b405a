# The vocabulary of layouts. A type is a file with
#
#   options  what can be said of it: { lib, content, device, name } -> options
#   create   shell text that makes it, harmless when it is there already
#   mount    { dev = shell text that opens it; fs.MOUNTPOINT = shell text that mounts it; }
#   close    shell text that closes what `mount.dev` opened
#   config   what the system must know to use it, a list
#   packages the tools of the shell texts
#
# where everything but `options` is a function of the evaluated content and `tools`, which leads
# back here for the content inside.
{ lib }:
let
  inherit (lib) mkOption types;

  load = file: import file { inherit lib tools; };
  contents = {
    btrfs = load ./btrfs.nix;
    filesystem = load ./filesystem.nix;
    gpt = load ./gpt.nix;
    luks = load ./luks.nix;
    swap = load ./swap.nix;
  };

  nothing = {
    create = _: "";
    mount = _: { };
    close = _: "";
    config = _: [ ];
    packages = _: _: [ ];
  };
  kindOf = content: if content == null then nothing else contents.${content.type};

  tools = {
    create = content: (kindOf content).create content;
    mount = content: {
      dev = "";
      fs = { };
    } // (kindOf content).mount content;
    close = content: (kindOf content).close content;
    config = content: (kindOf content).config content;
    packages = content: (kindOf content).packages content;

    inherit absolutePath;
    string =
      default: description:
      mkOption {
        type = types.str;
        inherit default description;
      };
    strings =
      default: description:
      mkOption {
        type = types.listOf types.str;
        inherit default description;
      };
    mountpoint = mkOption {
      type = types.nullOr absolutePath;
      default = null;
      description = "Where it is mounted.";
    };

    # One `mount` that does nothing when it is done already. `root` is set by the scripts.
    mountCommand =
      {
        device,
        mountpoint,
        fsType ? null,
        options,
      }:
      ''
        if ! findmnt ${device} "$root${mountpoint}" > /dev/null 2>&1; then
          mount ${device} "$root${mountpoint}" \
            ${lib.optionalString (fsType != null) "-t ${fsType} "}${
              lib.concatMapStringsSep " " (o: "-o ${lib.escapeShellArg o}") options
            } \
            -o X-mount.mkdir
        fi
      '';

    # The option `content`: what lies on `device`, told apart by its `type`.
    contentOption =
      { device, parent }:
      mkOption {
        type = types.nullOr (contentType { inherit device parent; });
        default = null;
        description = "What lies on ${device}.";
      };
  };

  absolutePath = types.addCheck types.str (lib.hasPrefix "/") // {
    name = "absolute-pathname";
    description = "absolute path";
  };

  contentType =
    context:
    types.mkOptionType {
      name = "content";
      description = "content of a disk: ${lib.concatStringsSep ", " (lib.attrNames contents)}";
      check = builtins.isAttrs;
      merge =
        loc: defs:
        let
          named = lib.filter (def: def.value ? type) defs;
          plain = value: if value ? content then plain value.content else value;
          kind = plain (lib.head named).value.type;
          where = lib.showOption loc;
        in
        if named == [ ] then
          throw "The option `${where}.type' is not set, but everything on a disk needs one. Definition values:${lib.showDefs defs}"
        else if !contents ? ${kind} then
          throw "The option `${where}.type' is `${kind}', but the miniature disko knows ${lib.concatStringsSep ", " (lib.attrNames contents)} only. Definition values:${lib.showDefs named}"
        else
          (types.submodule (
            { config, ... }:
            {
              options = contents.${kind}.options (context // { inherit config; }) // {
                type = mkOption {
                  type = types.enum [ kind ];
                  description = "What it is.";
                };
              };
            }
          )).merge
            loc
            defs;
    };

  diskOptions =
    { name, config, ... }:
    {
      options = {
        name = tools.string (lib.replaceStrings [ "/" ] [ "_" ] name) "The name of the disk.";
        type = mkOption {
          type = types.enum [ "disk" ];
          default = "disk";
          description = "What it is.";
        };
        device = mkOption {
          type = absolutePath;
          description = "The device.";
        };
        destroy = mkOption {
          type = types.bool;
          default = true;
          description = "Whether the scripts that destroy erase it; otherwise what it misses is made on it.";
        };
        content = tools.contentOption {
          inherit (config) device;
          parent = config;
        };
      };
    };

  nodevOptions =
    { name, ... }:
    {
      options = {
        type = mkOption {
          type = types.enum [ "nodev" ];
          default = "nodev";
          description = "What it is.";
        };
        fsType = mkOption {
          type = types.str;
          description = "The type of the file system.";
        };
        device = tools.string "none" "The device, where the type wants one.";
        mountpoint = tools.mountpoint // {
          default = name;
        };
        mountOptions = tools.strings [ "defaults" ] "Mount options.";
      };
    };
in
tools
// {
  disk = types.submodule diskOptions;
  nodev = types.submodule nodevOptions;

  mountNodev =
    fs:
    lib.optionalAttrs (fs.mountpoint != null) {
      ${fs.mountpoint} = tools.mountCommand {
        inherit (fs) device mountpoint fsType;
        options = fs.mountOptions;
      };
    };

  configOf =
    device:
    if device.type == "disk" then
      tools.config device.content
    else
      lib.optional (device.mountpoint != null) {
        fileSystems.${device.mountpoint} = {
          inherit (device) device fsType;
          options = device.mountOptions;
        };
      };
}
