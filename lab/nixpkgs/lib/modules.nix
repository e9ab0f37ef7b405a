# The module system: modules in, one checked configuration out.
#
# The way of the data: modules are loaded and flattened (collect), their declarations and
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
    isList
    isPath
    isString
    mapAttrs
    removeAttrs
    typeOf
    zipAttrsWith
    ;
  inherit (lib) showOption showFiles showDefs;

  definitions = import ./definitions.nix lib;
  inherit (definitions) pushDown mergeDefinitions;

  # The attributes that a module with a `config` or `options` attribute may have beside them.
  structureAttrs = [
    "_class"
    "_file"
    "key"
    "disabledModules"
    "imports"
    "options"
    "config"
    "meta"
    "freeformType"
  ];
  shorthandAttrs = [
    "_class"
    "_file"
    "key"
    "disabledModules"
    "require"
    "imports"
    "freeformType"
  ];

  # A function's formal arguments are looked up by name, so that arguments defined by other
  # modules (`_module.args`) stay lazy.
  applyArgs =
    f: args: config:
    f (
      args
      // mapAttrs (name: _: args.${name} or config._module.args.${name}) (lib.functionArgsOf f)
    );

  # Any value that stands for a module, as { _file, key, imports, options, config, … }.
  loadModule =
    args: config: parentFile: fallbackKey: value:
    let
      normalize = file: key: m: unify file key (if lib.isFunction m then applyArgs m args config else m);
      kind = value._type or "module";
    in
    if lib.isFunction value then
      normalize parentFile fallbackKey value
    else if isAttrs value && kind == "module" && !lib.isDerivation value then
      unify parentFile fallbackKey value
    else if isAttrs value && builtins.elem kind [ "if" "merge" "override" ] then
      unify parentFile fallbackKey { config = value; }
    else if isPath value || isString value || value ? outPath && kind != "flake" then
      normalize (toString value) (toString value) (import value)
    else if kind == "flake" then
      throw "Expected a module, but found a value of type \"flake\", while trying to load a module into `${parentFile}'. Use one of the flake's modules, such as its `nixosModules.default'."
    else
      throw "Expected a module, but found a value of type ${typeOf value}, while trying to load a module into `${parentFile}'.";

  unify =
    file: key: m:
    let
      extra = removeAttrs m structureAttrs;
      withFreeform =
        config:
        if m ? freeformType then
          lib.mkMerge [
            config
            { _module.freeformType = m.freeformType; }
          ]
        else
          config;
      common = {
        _file = toString (m._file or file);
        key = toString (m.key or key);
        _class = m._class or null;
        imports = m.imports or [ ] ++ m.require or [ ];
        disabledModules = m.disabledModules or [ ];
      };
    in
    if !isAttrs m then
      throw "The module `${file}' is of type ${typeOf m}, but a module is an attribute set or a function that returns one."
    else if m ? config || m ? options then
      if extra != { } then
        throw "Module `${common._file}' has an unsupported attribute `${lib.head (attrNames extra)}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString (attrNames extra)}) into the explicit `config' attribute."
      else
        common
        // {
          options = m.options or { };
          config = withFreeform (
            if m ? meta then
              lib.mkMerge [
                (m.config or { })
                { inherit (m) meta; }
              ]
            else
              m.config or { }
          );
        }
    else
      common
      // {
        options = { };
        config = withFreeform (removeAttrs m shorthandAttrs);
      };

  # Modules and all that they import, each key once, without the disabled ones.
  collectModules =
    {
      args,
      config,
      class,
      modulesPath,
    }:
    modules:
    let
      toTree =
        parentFile: parentKey: values:
        lib.imap1 (
          n: value:
          let
            module = loadModule args config parentFile "${parentKey}:anon-${toString n}" value;
          in
          if class != null && module._class != null && module._class != class then
            throw "The module `${module._file}' is for `${module._class}', but this is a configuration of `${class}'."
          else
            {
              inherit (module) key;
              inherit module;
              children = toTree module._file module.key module.imports;
            }
        ) values;

      tree = toTree "<unknown-file>" "" modules;
      disabledKey =
        file: value:
        if isString value && lib.substring 0 1 value != "/" then
          "${modulesPath}/${value}"
        else if isAttrs value && value ? key then
          toString value.key
        else
          toString value;
      disabledBelow = concatMap (
        node: map (disabledKey node.module._file) node.module.disabledModules ++ disabledBelow node.children
      );
      disabled = disabledBelow tree;
      enabled = if disabled == [ ] then lib.id else filter (node: !builtins.elem node.key disabled);
    in
    map (node: node.module) (
      builtins.genericClosure {
        startSet = enabled tree;
        operator = node: enabled node.children;
      }
    );

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
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs defs}"
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
            throw "You're trying to define a value of type `${typeOf def.value}' rather than an attribute set for the option `${showOption prefix}'! Definition values:${showDefs [ def ]}"
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
    prefix: unmatched:
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
          unmatchedError prefix unmatched
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

  # A module whose errors name `file`.
  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };

  # Old names of options: definitions of the one become definitions of the other.
  mkAliasOptionModule = from: to: aliasModule from to { warn = false; };
  mkRenamedOptionModule = from: to: aliasModule from to { warn = true; };
  aliasModule =
    from: to:
    { warn }:
    { config, options, ... }:
    let
      source = lib.getAttrFromPath from options;
    in
    {
      options = lib.setAttrByPath from (
        lib.mkOption {
          visible = false;
          type = (lib.attrByPath to { type = lib.types.unspecified; } options).type;
          apply = _: lib.getAttrFromPath to config;
        }
      );
      config = lib.mkMerge (
        [
          (lib.setAttrByPath to (
            lib.mkIf source.isDefined (
              lib.mkOverride source.highestPrio (
                lib.mkMerge (map lib.mkDefinition source.definitionsWithLocations)
              )
            )
          ))
        ]
        ++ lib.optional warn {
          warnings = lib.optional source.isDefined "The option `${showOption from}' defined in ${showFiles source.files} has been renamed to `${showOption to}'.";
        }
      );
    };

  mkRemovedOptionModule =
    from: advice:
    { options, ... }:
    let
      source = lib.getAttrFromPath from options;
    in
    {
      options = lib.setAttrByPath from (
        lib.mkOption {
          visible = false;
          apply = _: throw "The option `${showOption from}' can no longer be used since it's been removed. ${advice}";
        }
      );
      config.assertions = [
        {
          assertion = !source.isDefined;
          message = "The option definition `${showOption from}' in ${showFiles source.files} no longer has any effect; please remove it.\n${advice}";
        }
      ];
    };
}
