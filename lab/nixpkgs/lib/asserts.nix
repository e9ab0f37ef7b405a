# Assertions inside expressions, as opposed to the option `assertions` of a system.
lib: {
  assertMsg = condition: message: condition || throw message;
  assertOneOf =
    name: value: allowed:
    lib.assertMsg (builtins.elem value allowed)
      "${name} must be one of ${lib.generators.toPretty { } allowed}, but is: ${lib.generators.toPretty { } value}";
}
