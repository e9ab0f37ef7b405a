# Functions about nothing in particular.
rec {
  inherit (builtins)
    add
    functionArgs
    genericClosure
    isAttrs
    isBool
    isFloat
    isInt
    isPath
    lessThan
    readDir
    readFile
    sub
    toJSON
    fromJSON
    tryEval
    ;

  id = x: x;
  const = x: _: x;
  pipe = builtins.foldl' (x: f: f x);
  flip =
    f: a: b:
    f b a;
  and = a: b: a && b;
  or = a: b: a || b;
  xor = a: b: a != b;
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  mod = base: int: base - (int * (builtins.div base int));
  mapNullable = f: a: if a == null then null else f a;
  mergeAttrs = a: b: a // b;
  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  # Snippets of activation scripts.
  stringAfter = deps: text: { inherit deps text; };

  # A set with `__functor` is a function too.
  isFunction = f: builtins.isFunction f || (f ? __functor && isFunction (f.__functor f));
  functionArgsOf = f: f.__functionArgs or (builtins.functionArgs f);
  setFunctionArgs = f: args: {
    __functor = _: f;
    __functionArgs = args;
  };
  toFunction = v: if isFunction v then v else _: v;

  warn =
    message: value:
    if builtins ? warn then builtins.warn message value else builtins.trace "warning: ${message}" value;
  warnIf = condition: message: if condition then warn message else id;
  warnIfNot = condition: warnIf (!condition);
  throwIf = condition: message: if condition then throw message else id;
  throwIfNot = condition: throwIf (!condition);
  showWarnings = messages: value: builtins.foldl' (acc: m: warn m acc) value messages;
  info = message: builtins.trace "INFO: ${message}";

  toHexString =
    i:
    let
      digits = builtins.genList (d: builtins.substring d 1 "0123456789ABCDEF") 16;
      go = n: if n < 16 then builtins.elemAt digits n else go (n / 16) + builtins.elemAt digits (mod n 16);
    in
    go i;
}
