# Packages as functions of other packages.
lib: rec {
  # Calls a function with what it asks for, and lets the result be asked for again with other
  # arguments.
  makeOverridable =
    f: args:
    let
      result = f args;
    in
    if builtins.isAttrs result then
      result // { override = changes: makeOverridable f (args // lib.toFunction changes args); }
    else
      result;

  callPackageWith =
    available: fn: args:
    let
      f = if lib.isFunction fn then fn else import fn;
      wanted = builtins.intersectAttrs (lib.functionArgsOf f) available;
    in
    makeOverridable f (wanted // args);
}
