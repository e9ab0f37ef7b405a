# Declaring options, and the marks that a definition carries: conditions, priorities, order.
#
# A mark is a set with `_type`; modules.nix takes the marks off again when it collects the
# definitions of an option.
lib: rec {
  isOption = value: builtins.isAttrs value && value._type or null == "option";

  mkOption =
    {
      default ? null,
      defaultText ? null,
      example ? null,
      description ? null,
      type ? null,
      apply ? null,
      internal ? null,
      visible ? null,
      readOnly ? null,
      relatedPackages ? null,
    }@attrs:
    attrs // { _type = "option"; };

  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = lib.types.bool;
    };

  mkPackageOption =
    pkgs: name:
    {
      default ? name,
      nullable ? false,
      example ? null,
      extraDescription ? "",
      pkgsText ? "pkgs",
    }:
    let
      path = if builtins.isString default then [ default ] else default;
    in
    mkOption (
      {
        type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
        description = "The ${if builtins.isList name then lib.last name else name} package to use. ${extraDescription}";
      }
      // lib.optionalAttrs (default != null) {
        default = lib.getAttrFromPath path pkgs;
        defaultText = literalExpression "${pkgsText}.${lib.concatStringsSep "." path}";
      }
      // lib.optionalAttrs (default == null && nullable) { default = null; }
    );

  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  mdDoc = lib.id;

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };

  # The smaller number wins.
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  defaultOverridePriority = 100;
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;

  # The smaller number comes first.
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  defaultOrderPriority = 1000;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;

  # A definition that says which file it comes from.
  mkDefinition = args: args // { _type = "definition"; };

  getValues = map (def: def.value);

  # `a.b."c d"` for messages.
  showOption =
    path:
    lib.concatStringsSep "." (
      map (
        part:
        if
          part == "*" || part == "<name>" || builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*" part != null || lib.hasPrefix "[" part
        then
          part
        else
          lib.escapeNixString part
      ) path
    );

  showFiles = files: lib.concatMapStringsSep " and " (file: "`${file}'") files;

  # One line for each definition: the file, and the value when it can be shown.
  showDefs =
    defs:
    lib.concatMapStrings (
      def:
      let
        shown = builtins.tryEval (lib.generators.toPretty { } def.value);
        lines = lib.splitString "\n" shown.value;
        brief =
          if lib.length lines > 5 then lib.take 5 lines ++ [ "..." ] else lines;
      in
      "\n- In `${def.file}'"
      + (if shown.success then ": " + lib.concatStringsSep "\n    " brief else "")
    ) defs;

  mergeDefaultOption =
    loc: defs:
    let
      values = getValues defs;
      first = builtins.head values;
    in
    if lib.length defs == 1 then
      first
    else if lib.all builtins.isAttrs values then
      lib.foldl' lib.mergeAttrs { } values
    else if lib.all builtins.isList values then
      lib.concatLists values
    else if lib.all builtins.isBool values then
      lib.any lib.id values
    else if lib.all lib.isString values then
      lib.concatStrings values
    else if lib.all builtins.isInt values && lib.all (x: x == first) values then
      first
    else
      throw "Cannot merge definitions of `${showOption loc}'. Definition values:${showDefs defs}";

  mergeOneOption = mergeUniqueOption { message = ""; };
  mergeUniqueOption =
    {
      message,
      merge ? _: defs: (builtins.head defs).value,
    }:
    loc: defs:
    if lib.length defs == 1 then
      merge loc defs
    else
      throw "The option `${showOption loc}' may be defined once only. ${message}\nDefinition values:${showDefs defs}${prioritySuggestion}";

  mergeEqualOption =
    loc: defs:
    let
      first = builtins.head defs;
      others = lib.filter (def: def.value != first.value) (builtins.tail defs);
    in
    if defs == [ ] then
      abort "mergeEqualOption was called without definitions of `${showOption loc}'"
    else if others == [ ] then
      first.value
    else
      throw "The option `${showOption loc}' has conflicting definition values:${
        showDefs ([ first ] ++ others)
      }${prioritySuggestion}";

  prioritySuggestion = "\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";
}
