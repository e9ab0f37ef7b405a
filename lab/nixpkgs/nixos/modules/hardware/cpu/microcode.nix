# Updates of the processor's microcode. The miniature has none: virtual machines need none.
{ lib, ... }:
{
  options.hardware.cpu = lib.genAttrs [ "amd" "intel" ] (vendor: {
    updateMicrocode = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether the microcode of ${vendor} processors is updated.";
    };
  });
}
