# From anything that may stand in a list of modules to a flat list of modules, each once.
lib:
let
  inherit (builtins)
    attrNames
    concatMap
    filter
    isAttrs
    isPath
    isString
    mapAttrs
    removeAttrs
    typeOf
    ;

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
      throw "Expected a module, but found a value of type \"flake\" in `${parentFile}': import one of its modules, such as `nixosModules.default'."
    else
      throw "Expected a module, but found a value of type ${typeOf value} in `${parentFile}'.";

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
        throw "Module `${common._file}' has an unsupported attribute `${lib.head (attrNames extra)}'. Beside `config' or `options' there is no place for definitions: move ${toString (attrNames extra)} into `config'."
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
        value:
        if isString value && lib.substring 0 1 value != "/" then
          "${modulesPath}/${value}"
        else if isAttrs value && value ? key then
          toString value.key
        else
          toString value;
      disabledBelow = concatMap (
        node: map disabledKey node.module.disabledModules ++ disabledBelow node.children
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
in
{
  inherit collectModules;
}
