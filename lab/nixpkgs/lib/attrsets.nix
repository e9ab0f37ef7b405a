# Attribute sets.
lib:
let
  inherit (builtins)
    concatMap
    foldl'
    head
    length
    tail
    ;
in
rec {
  inherit (builtins)
    attrNames
    attrValues
    catAttrs
    getAttr
    hasAttr
    intersectAttrs
    isAttrs
    listToAttrs
    mapAttrs
    removeAttrs
    zipAttrsWith
    ;

  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  genAttrs' = xs: f: listToAttrs (map f xs);
  mapAttrs' = f: set: listToAttrs (mapAttrsToList f set);
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  attrsToList = mapAttrsToList nameValuePair;
  concatMapAttrs = f: set: foldl' (a: b: a // b) { } (mapAttrsToList f set);
  filterAttrs =
    pred: set:
    removeAttrs set (builtins.filter (name: !pred name set.${name}) (attrNames set));
  optionalAttrs = condition: set: if condition then set else { };
  mergeAttrsList = foldl' (a: b: a // b) { };
  foldlAttrs =
    f: start: set:
    foldl' (acc: name: f acc name set.${name}) start (attrNames set);
  zipAttrs = zipAttrsWith (_: values: values);
  getAttrs = names: set: genAttrs names (name: set.${name});
  attrVals = names: set: map (name: set.${name}) names;
  cartesianProduct =
    sets:
    foldl' (
      acc: name: concatMap (partial: map (value: partial // { ${name} = value; }) sets.${name}) acc
    ) [ { } ] (attrNames sets);

  attrByPath =
    path: default: set:
    if path == [ ] then
      set
    else if isAttrs set && set ? ${head path} then
      attrByPath (tail path) default set.${head path}
    else
      default;
  hasAttrByPath =
    path: set:
    path == [ ]
    || (isAttrs set && set ? ${head path} && hasAttrByPath (tail path) set.${head path});
  getAttrFromPath =
    path: set:
    attrByPath path (throw "cannot find attribute `${lib.concatStringsSep "." path}'") set;
  setAttrByPath =
    path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };

  mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
  mapAttrsRecursiveCond =
    cond: f: set:
    let
      go =
        path:
        builtins.mapAttrs (
          name: value:
          let
            here = path ++ [ name ];
          in
          if isAttrs value && cond value then go here value else f here value
        );
    in
    go [ ] set;
  collect =
    pred: value:
    if pred value then
      [ value ]
    else if isAttrs value then
      concatMap (collect pred) (builtins.attrValues value)
    else
      [ ];

  recursiveUpdate = recursiveUpdateUntil (_: left: right: !(isAttrs left && isAttrs right));
  recursiveUpdateUntil =
    stop: left: right:
    let
      go =
        path:
        zipAttrsWith (
          name: values:
          let
            here = path ++ [ name ];
          in
          if length values == 1 || stop here (lib.last values) (head values) then
            head values
          else
            go here values
        );
    in
    go [ ] [ right left ];

  filterAttrsRecursive =
    pred: set:
    listToAttrs (
      concatMap (
        name:
        let
          value = set.${name};
        in
        if !pred name value then
          [ ]
        else
          [ (nameValuePair name (if isAttrs value then filterAttrsRecursive pred value else value)) ]
      ) (attrNames set)
    );

  isDerivation = value: isAttrs value && value.type or null == "derivation";
  toDerivation = path: {
    type = "derivation";
    name = baseNameOf (builtins.unsafeDiscardStringContext (toString path));
    outPath = builtins.storePath path;
    outputs = [ "out" ];
    outputName = "out";
  };
  getOutput = output: pkg: pkg.${output} or pkg.out or pkg;
  getBin = getOutput "bin";
  getLib = getOutput "lib";
  getDev = getOutput "dev";
  getExe' = pkg: name: "${getBin pkg}/bin/${name}";
  getExe =
    pkg: getExe' pkg (pkg.meta.mainProgram or pkg.pname or (builtins.parseDrvName pkg.name).name);
}
