# The module system: modules in, one checked configuration out.
#
# The way of the data: modules are loaded and flattened (module-loading.nix), their declarations and
# definitions are grouped by option (mergeTree), marks such as `mkIf` and `mkForce` are taken
# off (definitions.nix), the option's type checks and merges what remains. Invariant: every
# definition keeps the file it was written in, so that each error names files and full option
# names.
lib:
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    filter
    isAttrs
    mapAttrs
    removeAttrs
    typeOf
    zipAttrsWith
    ;
  inherit (lib) showOption showFiles showDefs;

  definitions = import ./definitions.nix lib;
  inherit (definitions) pushDown mergeDefinitions;
  inherit (import ./module-loading.nix lib) collectModules;

  # Several declarations of one option as one.
  mergeDeclarations =
    loc: decls:
    let
      mergeTwo =
        acc: decl:
        let
          opt = decl.options;
          merged = acc.type.typeMerge opt.type;
          conflicting = name: acc ? ${name} && opt ? ${name};
        in
        if conflicting "default" || conflicting "apply" || (acc ? type && opt ? type && merged == null) then
          throw "The option `${showOption loc}' in `${decl.file}' is already declared in ${showFiles acc.declarations}."
        else
          acc
          // opt
          // {
            declarations = acc.declarations ++ [ decl.file ];
          }
          // lib.optionalAttrs (acc ? type && opt ? type) { type = merged; };
    in
    lib.foldl' mergeTwo {
      inherit loc;
      declarations = [ ];
    } decls;

  evalOption =
    loc: opt: defs:
    let
      type = opt.type or lib.types.unspecified;
      default = lib.optional (opt ? default) {
        file = lib.head opt.declarations;
        value = lib.mkOptionDefault opt.default;
      };
      merged =
        if opt.readOnly or false == true && lib.length (definitions.discharge defs) > 1 then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${
            showDefs defs
          }"
        else
          mergeDefinitions loc type (default ++ defs);
      value =
        if merged.isDefined then
          merged.value
        else
          throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.";
    in
    opt
    // {
      inherit type;
      inherit (merged) isDefined highestPrio;
      value = if opt ? apply then opt.apply value else value;
      definitions = map (def: def.value) merged.defs;
      definitionsWithLocations = map (def: { inherit (def) file value; }) merged.defs;
      files = map (def: def.file) merged.defs;
      __toString = _: showOption loc;
    };

  # Declarations and definitions below `prefix`:
  # { options = the tree of evaluated options; unmatched = definitions that no option takes; }
  mergeTree =
    prefix: decls: defs:
    let
      declsByName = zipAttrsWith (_: xs: xs) (
        map (
          decl:
          mapAttrs (_: options: {
            inherit (decl) file;
            inherit options;
          }) decl.options
        ) decls
      );
      defsByName = zipAttrsWith (_: xs: xs) (
        map (
          def:
          if isAttrs def.value then
            mapAttrs (_: value: {
              inherit (def) file;
              inherit value;
            }) def.value
          else
            throw "The option `${showOption prefix}' holds other options: it takes an attribute set, not a value of type `${typeOf def.value}'. Definition values:${
              showDefs [ def ]
            }"
        ) defs
      );

      results = mapAttrs (
        name: found:
        let
          loc = prefix ++ [ name ];
          own = defsByName.${name} or [ ];
          leaves = filter (decl: lib.isOption decl.options) found;
          branches = filter (decl: !lib.isOption decl.options) found;
          sub = mergeTree loc found (concatMap pushDownDef own);
        in
        if branches == [ ] then
          {
            options = evalOption loc (mergeDeclarations loc found) own;
            unmatched = [ ];
          }
        else if leaves == [ ] then
          sub
        else
          throw "The option `${showOption loc}' in ${showFiles (map (d: d.file) leaves)} is a prefix of options in ${showFiles (map (d: d.file) branches)}."
      ) declsByName;

      strangers = removeAttrs defsByName (attrNames declsByName);
    in
    {
      options = mapAttrs (_: r: r.options) results;
      unmatched =
        concatLists (lib.mapAttrsToList (_: r: r.unmatched) results)
        ++ concatLists (
          lib.mapAttrsToList (
            name: map (def: def // { loc = prefix ++ [ name ]; })
          ) strangers
        );
    };

  pushDownDef =
    def:
    map (value: {
      inherit (def) file;
      inherit value;
    }) (pushDown def.value);

  # The options that every set of modules has.
  internalModule =
    { extraArgs }:
    {
      _file = "lib/modules.nix";
      key = "lib/modules.nix";
      options._module = {
        args = lib.mkOption {
          type = lib.types.lazyAttrsOf lib.types.raw;
          internal = true;
          description = "Additional arguments passed to each module.";
        };
        check = lib.mkOption {
          type = lib.types.bool;
          internal = true;
          default = true;
          description = "Whether to check whether all option definitions have matching declarations.";
        };
        freeformType = lib.mkOption {
          type = lib.types.nullOr lib.types.optionType;
          internal = true;
          default = null;
          description = "The type that takes definitions without a matching declaration.";
        };
      };
      config._module.args = extraArgs;
    };

  unmatchedError =
    unmatched:
    let
      first = lib.head unmatched;
      same = filter (def: def.loc == first.loc) unmatched;
    in
    throw "The option `${showOption first.loc}' does not exist. Definition values:${showDefs same}";
in
rec {
  inherit mergeDefinitions;

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      class ? null,
      args ? { },
    }@evalArgs:
    let
      baseArgs = {
        inherit lib config options;
        _class = class;
        _prefix = prefix;
      }
      // specialArgs;

      collected = collectModules {
        args = baseArgs;
        inherit config class;
        modulesPath = toString (specialArgs.modulesPath or "");
      } (modules ++ [ (internalModule { extraArgs = { inherit extendModules; } // args; }) ]);
      # Reversed, so that what a file imports comes before the file itself in lists and lines.
      ordered = lib.reverseList collected;

      merged = mergeTree prefix (map (m: {
        file = m._file;
        inherit (m) options;
      }) ordered) (
        concatMap (
          m:
          map (value: {
            file = m._file;
            inherit value;
          }) (pushDown m.config)
        ) ordered
      );
      inherit (merged) options unmatched;

      valuesOf = mapAttrs (_: node: if lib.isOption node then node.value else valuesOf node);
      declared = valuesOf options;
      freeformType = declared._module.freeformType;
      strip = lib.drop (lib.length prefix);
      freeform = freeformType.merge prefix (
        map (def: {
          inherit (def) file;
          value = lib.setAttrByPath (strip def.loc) def.value;
        }) unmatched
      );
      config =
        if freeformType == null || unmatched == [ ] then
          declared
        else
          lib.recursiveUpdate freeform declared;

      checked =
        if declared._module.check && freeformType == null && unmatched != [ ] then
          unmatchedError unmatched
        else
          x: x;

      extendModules =
        {
          modules ? [ ],
          specialArgs ? { },
          prefix ? evalArgs.prefix or [ ],
        }:
        evalModules (
          evalArgs
          // {
            inherit prefix;
            modules = evalArgs.modules ++ modules;
            specialArgs = evalArgs.specialArgs or { } // specialArgs;
          }
        );
    in
    {
      _type = "configuration";
      inherit class extendModules;
      options = checked options;
      config = checked (removeAttrs config [ "_module" ]);
      _module = checked config._module;
    };
}
