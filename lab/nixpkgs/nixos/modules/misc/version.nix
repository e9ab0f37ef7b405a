# What the system calls itself: /etc/os-release, `nixos-version`, the names of generations.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) nullOr string strings;
  cfg = config.system.nixos;

  osRelease = {
    ANSI_COLOR = "0;38;2;126;186;228";
    BUILD_ID = cfg.version;
    ID = cfg.distroId;
    ID_LIKE = lib.optionalString (cfg.distroId != "nixos") "nixos";
    IMAGE_ID = "";
    IMAGE_VERSION = "";
    NAME = cfg.distroName;
    PRETTY_NAME = "${cfg.distroName} ${cfg.release} (${cfg.codeName})";
    VARIANT = lib.optionalString (cfg.variantName != null) cfg.variantName;
    VARIANT_ID = lib.optionalString (cfg.variant_id != null) cfg.variant_id;
    VERSION = "${cfg.release} (${cfg.codeName})";
    VERSION_CODENAME = lib.toLower cfg.codeName;
    VERSION_ID = cfg.release;
  };
in
{
  options.system = {
    stateVersion = mkOption {
      type = types.strMatching "[0-9]{2}[.]?(05|11)";
      default = cfg.release;
      description = "The release whose defaults for stored data hold: the first one that was installed.";
    };
    configurationRevision = nullOr types.str "The revision of the configuration that the system was built from.";
    name = string (if config.networking.hostName == "" then "unnamed" else config.networking.hostName) "The name of the system in its store path.";
    nixos = {
      release = mkOption {
        type = types.str;
        readOnly = true;
        default = lib.trivial.release;
        description = "The release, such as 26.05.";
      };
      versionSuffix = string "" "What follows the release in the version.";
      version = string (cfg.release + cfg.versionSuffix) "The full version.";
      revision = nullOr types.str "The revision of nixpkgs.";
      codeName = string "Yarara" "The name of the release.";
      distroId = string "nixos" "ID in os-release.";
      distroName = string "NixOS" "NAME in os-release.";
      variant_id = nullOr (types.strMatching "[a-z0-9._-]+") "VARIANT_ID in os-release; the installer has one.";
      variantName = nullOr types.str "VARIANT in os-release.";
      tags = strings [ ] "Words put before the version in the label.";
      label = mkOption {
        type = types.strMatching "[a-zA-Z0-9:_.-]*";
        default = lib.concatStringsSep "-" (lib.sort lib.lessThan cfg.tags ++ [ cfg.version ]);
        description = "The name of generations in the boot menu.";
      };
    };
  };

  config = {
    environment.etc.os-release.text = lib.concatStrings (
      lib.mapAttrsToList (
        key: value: lib.optionalString (value != "") "${key}=${builtins.toJSON value}\n"
      ) osRelease
    );
    environment.etc.lsb-release.text = ''
      DISTRIB_CODENAME=${lib.toLower cfg.codeName}
      DISTRIB_DESCRIPTION="${osRelease.PRETTY_NAME}"
      DISTRIB_ID=${cfg.distroId}
      DISTRIB_RELEASE="${cfg.release}"
      LSB_VERSION="${cfg.release} (${cfg.codeName})"
    '';
  };
}
