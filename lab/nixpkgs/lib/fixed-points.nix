# Attribute sets that refer to themselves and can be extended later: the ground under
# `lib.extend` and package overlays.
rec {
  fix =
    f:
    let
      x = f x;
    in
    x;

  # Two overlays (self: super: attrs) as one.
  composeExtensions =
    first: second: self: super:
    let
      fromFirst = first self super;
    in
    fromFirst // second self (super // fromFirst);

  composeManyExtensions = builtins.foldl' composeExtensions (_: _: { });

  makeExtensible =
    f:
    fix (
      self:
      f self
      // {
        extend =
          overlay:
          makeExtensible (
            self':
            let
              super = f self';
            in
            super // overlay self' super
          );
      }
    );
}
