# The options of systemd units, with the conversions that fill their sections.
{ lib }:
let
  inherit (lib) mkOption types;

  names = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  sectionValue = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
    types.path
    types.package
  ];
  section = mkOption {
    type = types.attrsOf (types.nullOr (types.either sectionValue (types.listOf sectionValue)));
    default = { };
  };
  script = mkOption {
    type = types.lines;
    default = "";
  };
  bool =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };

  relations = [
    "requires"
    "wants"
    "upholds"
    "after"
    "before"
    "bindsTo"
    "partOf"
    "conflicts"
    "requisite"
    "onFailure"
    "onSuccess"
  ];
  installRelations = [
    "wantedBy"
    "requiredBy"
    "upheldBy"
    "aliases"
  ];
  optional =
    type:
    mkOption {
      type = types.nullOr type;
      default = null;
    };
in
rec {
  inherit relations section;

  common =
    lib.genAttrs (relations ++ installRelations) (_: names)
    // {
      enable = bool true;
      description = mkOption {
        type = types.singleLineStr;
        default = "";
      };
      documentation = names;
      overrideStrategy = mkOption {
        type = types.enum [
          "asDropinIfExists"
          "asDropin"
        ];
        default = "asDropinIfExists";
      };
      unitConfig = section;
      startLimitBurst = optional types.int;
      startLimitIntervalSec = optional types.int;
      restartTriggers = mkOption {
        type = types.listOf types.unspecified;
        default = [ ];
      };
      reloadTriggers = mkOption {
        type = types.listOf types.unspecified;
        default = [ ];
      };
    };

  service = common // {
    environment = mkOption {
      type = types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
          ]
        )
      );
      default = { };
    };
    path = mkOption {
      type = types.listOf (
        types.oneOf [
          types.package
          types.str
        ]
      );
      default = [ ];
    };
    serviceConfig = section;
    inherit script;
    scriptArgs = mkOption {
      type = types.str;
      default = "";
    };
    preStart = script;
    postStart = script;
    reload = script;
    preStop = script;
    postStop = script;
    restartIfChanged = bool true;
    reloadIfChanged = bool false;
    stopIfChanged = bool true;
    startAt = mkOption {
      type = types.either types.str (types.listOf types.str);
      default = [ ];
      apply = lib.toList;
    };
  };

  socket = common // {
    listenStreams = names;
    listenDatagrams = names;
    socketConfig = section;
  };
  timer = common // {
    timerConfig = section;
  };
  path = common // {
    pathConfig = section;
  };
  slice = common // {
    sliceConfig = section;
  };
  mount = common // {
    what = mkOption { type = types.str; };
    where = mkOption { type = types.str; };
    type = mkOption {
      type = types.str;
      default = "";
    };
    options = mkOption {
      type = types.commas;
      default = "";
    };
    mountConfig = section;
  };
  automount = common // {
    where = mkOption { type = types.str; };
    automountConfig = section;
  };
}
