# The types that are made of other types.
lib:
{
  mkOptionType,
  wrapping,
  types,
}:
let
  inherit (builtins) isAttrs isList;
  inherit (lib) mergeDefinitions showOption showDefs;

  # The definitions of each attribute, with the file of the whole.
  byName =
    defs:
    builtins.zipAttrsWith (_: xs: xs) (
      map (
        def:
        builtins.mapAttrs (_: value: {
          inherit (def) file;
          inherit value;
        }) def.value
      ) defs
    );
in
rec {
  listOf =
    elemType:
    wrapping listOf elemType {
      name = "listOf";
      description = "list of ${elemType.description}";
      check = isList;
      emptyValue.value = [ ];
      merge =
        loc: defs:
        map (x: x.value) (
          lib.filter (x: x ? value) (
            lib.concatLists (
              lib.imap1 (
                n: def:
                lib.imap1 (
                  m: value:
                  (mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elemType [
                    {
                      inherit (def) file;
                      inherit value;
                    }
                  ]).optionalValue
                ) def.value
              ) defs
            )
          )
        );
    };
  nonEmptyListOf = elemType: addCheck (listOf elemType) (xs: xs != [ ]) // {
    description = "non-empty list of ${elemType.description}";
  };

  attrsOf =
    elemType:
    wrapping attrsOf elemType {
      name = "attrsOf";
      description = "attribute set of ${elemType.description}";
      check = isAttrs;
      emptyValue.value = { };
      merge =
        loc: defs:
        builtins.mapAttrs (_: x: x.value) (
          lib.filterAttrs (_: x: x ? value) (
            builtins.mapAttrs (
              name: own: (mergeDefinitions (loc ++ [ name ]) elemType own).optionalValue
            ) (byName defs)
          )
        );
    };

  # Values may depend on which names there are; the price is that a name whose definitions are
  # all conditions that do not hold still exists.
  lazyAttrsOf =
    elemType:
    wrapping lazyAttrsOf elemType {
      name = "lazyAttrsOf";
      description = "lazy attribute set of ${elemType.description}";
      check = isAttrs;
      emptyValue.value = { };
      merge =
        loc: defs:
        builtins.mapAttrs (
          name: own:
          let
            merged = mergeDefinitions (loc ++ [ name ]) elemType own;
          in
          merged.optionalValue.value or elemType.emptyValue.value or merged.mergedValue
        ) (byName defs);
    };

  nullOr =
    elemType:
    wrapping nullOr elemType {
      name = "nullOr";
      description = "null or ${elemType.description}";
      check = x: x == null || elemType.check x;
      emptyValue.value = null;
      merge =
        loc: defs:
        let
          nulls = lib.count (def: def.value == null) defs;
        in
        if nulls == lib.length defs then
          null
        else if nulls != 0 then
          throw "The option `${showOption loc}' is defined both null and not null. Definition values:${showDefs defs}"
        else
          elemType.merge loc defs;
    };

  unique =
    { message }:
    elemType:
    wrapping (unique { inherit message; }) elemType {
      name = "unique";
      inherit (elemType) description check emptyValue;
      merge = lib.mergeUniqueOption {
        inherit message;
        inherit (elemType) merge;
      };
    };
  uniq = unique { message = ""; };

  addCheck =
    elemType: check:
    elemType
    // {
      check = x: elemType.check x && check x;
    };

  either =
    left: right:
    mkOptionType {
      name = "either";
      description = "${left.description} or ${right.description}";
      check = x: left.check x || right.check x;
      nestedTypes = { inherit left right; };
      merge =
        loc: defs:
        if lib.all (def: left.check def.value) defs then
          left.merge loc defs
        else if lib.all (def: right.check def.value) defs then
          right.merge loc defs
        else
          lib.mergeOneOption loc defs;
      typeMerge =
        other:
        let
          l = left.typeMerge other.nestedTypes.left;
          r = right.typeMerge other.nestedTypes.right;
        in
        if other.name == "either" && l != null && r != null then either l r else null;
    };
  oneOf = list: lib.foldl' either (lib.head list) (lib.tail list);

  coercedTo =
    from: coerce: to:
    mkOptionType {
      name = "coercedTo";
      description = "${to.description} or ${from.description} convertible to it";
      check = x: to.check x || (from.check x && to.check (coerce x));
      inherit (to) emptyValue getSubOptions getSubModules;
      nestedTypes = {
        inherit from to;
      };
      merge =
        loc: defs:
        to.merge loc (
          map (
            def:
            def // { value = if to.check def.value then def.value else coerce def.value; }
          ) defs
        );
    };

  functionTo =
    elemType:
    wrapping functionTo elemType {
      name = "functionTo";
      description = "function that evaluates to a(n) ${elemType.description}";
      check = lib.isFunction;
      merge =
        loc: defs: argument:
        (mergeDefinitions (loc ++ [ "<function body>" ]) elemType (
          map (def: def // { value = def.value argument; }) defs
        )).mergedValue;
    };

  deferredModule = mkOptionType {
    name = "deferredModule";
    description = "module";
    check = x: isAttrs x || lib.isFunction x || types.path.check x;
    merge = _: defs: {
      imports = map (def: lib.setDefaultModuleLocation def.file def.value) defs;
    };
  };

  submodule =
    modules:
    submoduleWith {
      shorthandOnlyDefinesConfig = true;
      modules = lib.toList modules;
    };

  submoduleWith =
    {
      modules,
      specialArgs ? { },
      shorthandOnlyDefinesConfig ? false,
      description ? null,
      class ? null,
    }@attrs:
    let
      evaluate =
        loc: defs:
        lib.evalModules {
          inherit specialArgs class;
          prefix = loc;
          args.name = if loc == [ ] then "‹name›" else lib.last loc;
          modules = modules ++ map fromDefinition defs;
        };
      fromDefinition =
        def:
        if shorthandOnlyDefinesConfig && isAttrs def.value then
          {
            _file = def.file;
            config = def.value;
          }
        else
          lib.setDefaultModuleLocation def.file def.value;
      freeform = (evaluate [ ] [ ])._module.freeformType;
    in
    mkOptionType {
      name = "submodule";
      description =
        if description != null then
          description
        else if freeform != null then
          "open submodule of ${freeform.description}"
        else
          "submodule";
      check = x: isAttrs x || lib.isFunction x || types.path.check x;
      emptyValue.value = { };
      merge = loc: defs: (evaluate loc defs).config;
      getSubOptions = prefix: (evaluate prefix [ ]).options;
      getSubModules = modules;
      nestedTypes = {
        inherit attrs;
      };
      typeMerge =
        other:
        let
          that = other.nestedTypes.attrs;
        in
        if other.name != "submodule" then
          null
        else
          submoduleWith (
            attrs
            // that
            // {
              modules = modules ++ that.modules;
              specialArgs = specialArgs // that.specialArgs or { };
              shorthandOnlyDefinesConfig = shorthandOnlyDefinesConfig || that.shorthandOnlyDefinesConfig or false;
            }
          );
    };
}
