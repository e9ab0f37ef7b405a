# Assertions inside expressions, as opposed to the option `assertions` of a system.
lib: {
  assertMsg = condition: message: condition || throw message;
}
