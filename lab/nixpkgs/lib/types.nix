# The types of options: what a definition must look like, and how several become one value.
#
# A type is { name, description, check, merge, emptyValue, nested, typeMerge, … }. `check` looks
# at one definition, only as deep as is cheap; `merge` takes the location and the definitions,
# each { file, value }, and goes on into the parts.
lib:
let
  inherit (builtins)
    elem
    isAttrs
    isBool
    isFloat
    isInt
    isString
    typeOf
    ;
  inherit (lib) mergeEqualOption mergeOneOption;

  mkOptionType =
    {
      name,
      description ? name,
      check ? (_: true),
      merge ? lib.mergeDefaultOption,
      emptyValue ? { },
      nestedTypes ? { },
      getSubOptions ? (_: { }),
      getSubModules ? null,
      # The type that accepts what both accept, or null; by default types of one name.
      typeMerge ? null,
    }:
    let
      self = {
        _type = "option-type";
        inherit
          name
          description
          check
          merge
          emptyValue
          nestedTypes
          getSubOptions
          getSubModules
          ;
        typeMerge =
          if typeMerge != null then
            typeMerge
          else
            (other: if other.name == name && nestedTypes == { } then self else null);
      };
    in
    self;

  # A type around one other type.
  wrapping =
    constructor: elemType: attrs:
    mkOptionType (
      attrs
      // {
        nestedTypes.elemType = elemType;
        getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<name>" ]);
        inherit (elemType) getSubModules;
        typeMerge =
          other:
          let
            inner = elemType.typeMerge other.nestedTypes.elemType;
          in
          if other.name != attrs.name || inner == null then null else constructor inner;
      }
    );

  composite = import ./types-composite.nix lib { inherit mkOptionType wrapping types; };

  between =
    name: low: high:
    mkOptionType {
      inherit name;
      description = "integer between ${toString low} and ${toString high} (both inclusive)";
      check = x: isInt x && x >= low && x <= high;
      merge = mergeEqualOption;
    };

  intWhere =
    name: description: pred:
    mkOptionType {
      inherit name description;
      check = x: isInt x && pred x;
      merge = mergeEqualOption;
    };

  stringWhere =
    name: description: pred:
    mkOptionType {
      inherit name description;
      check = x: isString x && pred x;
      merge = mergeEqualOption;
    };

  types = composite // rec {
    inherit mkOptionType;
    isOptionType = value: isAttrs value && value._type or null == "option-type";

    unspecified = mkOptionType {
      name = "unspecified";
      description = "unspecified value";
    };
    raw = mkOptionType {
      name = "raw";
      description = "raw value";
      merge = mergeOneOption;
    };
    optionType = mkOptionType {
      name = "optionType";
      check = isOptionType;
      merge =
        loc: defs:
        lib.foldl' (
          acc: def:
          let
            both = acc.typeMerge def.value;
          in
          if both == null then mergeOneOption loc defs else both
        ) (lib.head defs).value (lib.tail defs);
    };

    bool = mkOptionType {
      name = "bool";
      description = "boolean";
      check = isBool;
      merge = mergeEqualOption;
    };

    int = intWhere "int" "signed integer" (_: true);
    ints = {
      between = between "intBetween";
      unsigned = intWhere "unsignedInt" "unsigned integer, meaning >=0" (x: x >= 0);
      positive = intWhere "positiveInt" "positive integer, meaning >0" (x: x > 0);
      u16 = between "unsignedInt16" 0 65535;
    };
    port = ints.u16 // {
      description = "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
    };
    float = mkOptionType {
      name = "float";
      description = "floating point number";
      check = isFloat;
      merge = mergeEqualOption;
    };
    number = either int float;
    numbers.nonnegative = addCheck number (x: x >= 0);
    numbers.positive = addCheck number (x: x > 0);

    str = stringWhere "str" "string" (_: true);
    nonEmptyStr = stringWhere "nonEmptyStr" "non-empty string" (
      s: builtins.match "[ \t\n]*" s == null
    );
    singleLineStr =
      stringWhere "singleLineStr" "(optionally newline-terminated) single-line string" (
        s: builtins.match "[^\n\r]*\n?" s != null
      )
      // {
        merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs);
      };
    strMatching =
      pattern:
      stringWhere "strMatching ${lib.escapeNixString pattern}" "string matching the pattern ${pattern}" (
        s: builtins.match pattern s != null
      );
    passwdEntry =
      entryType:
      addCheck entryType (s: !(lib.hasInfix ":" s || lib.hasInfix "\n" s))
      // {
        name = "passwdEntry ${entryType.name}";
        description = "${entryType.description}, not containing newlines or colons";
      };
    separatedString =
      sep:
      mkOptionType {
        name = "separatedString ${sep}";
        description = if sep == "" then "Concatenated string" else "strings concatenated with ${builtins.toJSON sep}";
        check = isString;
        merge = _: defs: lib.concatStringsSep sep (lib.getValues defs);
      };
    lines = separatedString "\n";
    commas = separatedString ",";
    string = str;

    path = mkOptionType {
      name = "path";
      description = "absolute path";
      check = x: lib.isStringLike x && lib.hasPrefix "/" (toString x);
      merge = mergeEqualOption;
    };
    pathInStore = mkOptionType {
      name = "pathInStore";
      description = "path in the Nix store";
      check = x: lib.isStringLike x && builtins.match "${builtins.storeDir}/[^.].*" (toString x) != null;
      merge = mergeEqualOption;
    };
    externalPath = addCheck path (x: !lib.hasPrefix builtins.storeDir (toString x)) // {
      description = "absolute path not in the Nix store";
    };
    package = mkOptionType {
      name = "package";
      check = x: lib.isDerivation x || lib.isStorePath x;
      merge =
        loc: defs:
        let
          value = mergeOneOption loc defs;
        in
        if builtins.isPath value || isString value && !builtins.hasContext value then
          lib.toDerivation value
        else
          value;
    };
    shellPackage = addCheck package (x: lib.isDerivation x && x ? shellPath);
    pkgs = addCheck unspecified (x: x._type or null == "pkgs") // {
      name = "pkgs";
      description = "Nixpkgs package set";
      merge = mergeOneOption;
    };

    enum =
      values:
      mkOptionType {
        name = "enum";
        description = "one of ${lib.concatMapStringsSep ", " (lib.generators.toPretty { }) values}";
        check = x: elem x values;
        merge = mergeEqualOption;
        nestedTypes = { inherit values; };
        typeMerge =
          other: if other.name == "enum" then enum (lib.unique (values ++ other.nestedTypes.values)) else null;
      };

    attrs = mkOptionType {
      name = "attrs";
      description = "attribute set";
      check = isAttrs;
      merge = _: lib.foldl' (acc: def: acc // def.value) { };
      emptyValue.value = { };
    };

    # Merges sets key by key whatever is in them; everything else must be equal.
    anything = mkOptionType {
      name = "anything";
      merge =
        loc: defs:
        let
          kinds = lib.unique (map (def: typeOf def.value) defs);
          derivations = lib.any (def: lib.isDerivation def.value) defs;
        in
        if lib.length defs == 1 && !(isAttrs (lib.head defs).value) then
          (lib.head defs).value
        else if kinds == [ "set" ] && !derivations then
          (lazyAttrsOf anything).merge loc defs
        else if kinds == [ "lambda" ] then
          argument:
          anything.merge (loc ++ [ "<function body>" ]) (
            map (def: def // { value = def.value argument; }) defs
          )
        else
          mergeEqualOption loc defs;
    };

    inherit (composite)
      attrsOf
      lazyAttrsOf
      either
      addCheck
      ;
  };
in
types
