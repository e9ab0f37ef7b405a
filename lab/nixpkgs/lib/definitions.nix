# The definitions of one option: marks off, the strongest kept, in order, checked, merged.
lib:
let
  inherit (builtins) concatMap filter mapAttrs;
  defaultPriority = lib.defaultOverridePriority;
  defaultOrder = lib.defaultOrderPriority;
in
rec {
  # Marks around a set of options, moved down onto each of its attributes; a list, because
  # `mkMerge` holds several sets.
  pushDown =
    value:
    let
      kind = value._type or "";
    in
    if kind == "merge" then
      concatMap pushDown value.contents
    else if kind == "if" then
      map (mapAttrs (_: lib.mkIf value.condition)) (pushDown value.content)
    else if kind == "override" then
      map (mapAttrs (_: lib.mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # Conditions and merges resolved; a priority is noted beside the value, order stays a mark.
  dischargeOne =
    def:
    let
      inherit (def) value;
      kind = if builtins.isAttrs value then value._type or "" else "";
      within = content: dischargeOne (def // { value = content; });
    in
    if kind == "merge" then
      concatMap within value.contents
    else if kind == "if" then
      if !builtins.isBool value.condition then
        throw "A condition of `mkIf' in `${def.file}' is of type ${builtins.typeOf value.condition}, not a boolean."
      else if value.condition then
        within value.content
      else
        [ ]
    else if kind == "override" then
      # Not looked into: the strongest priority can be told without any value.
      [
        (
          def
          // {
            inherit (value) priority;
            value = value.content;
          }
        )
      ]
    else if kind == "definition" then
      dischargeOne {
        inherit (value) file value;
      }
    else
      [ def ];
  discharge = concatMap dischargeOne;

  priorityOf = def: def.priority or defaultPriority;

  # Those definitions that no stronger one hides.
  strongest =
    defs:
    let
      best = lib.foldl' (acc: def: lib.min acc (priorityOf def)) 9999 defs;
    in
    {
      inherit best;
      defs = filter (def: priorityOf def == best) defs;
    };

  inOrder =
    defs:
    let
      orderOf = def: def.value.priority;
      isOrdered = def: builtins.isAttrs def.value && def.value._type or "" == "order";
      unwrap =
        def: if isOrdered def then unwrap (def // { value = def.value.content; order = orderOf def; }) else def;
      place = def: def.order or defaultOrder;
    in
    if lib.any isOrdered defs then
      lib.sort (a: b: place a < place b) (map unwrap defs)
    else
      defs;

  mergeDefinitions =
    loc: type: given:
    let
      kept = strongest (discharge given);
      defs = inOrder kept.defs;
      isDefined = defs != [ ];
      wrong = filter (def: !type.check def.value) defs;
      value =
        if wrong == [ ] then
          type.merge loc defs
        else
          throw "A definition for option `${lib.showOption loc}' is not of type `${type.description}'. Definition values:${lib.showDefs wrong}";
    in
    {
      inherit defs isDefined value;
      highestPrio = kept.best;
      mergedValue =
        if isDefined then
          value
        else
          throw "The option `${lib.showOption loc}' was accessed but has no value defined. Try setting the option.";
      optionalValue = if isDefined then { inherit value; } else { };
    };
}
