# The licences that the metadata of ordinary packages names.
builtins.mapAttrs
  (name: spdxId: {
    shortName = name;
    inherit spdxId;
    free = spdxId != null;
  })
  {
    asl20 = "Apache-2.0";
    bsd3 = "BSD-3-Clause";
    gpl2Only = "GPL-2.0-only";
    gpl3Only = "GPL-3.0-only";
    gpl3Plus = "GPL-3.0-or-later";
    lgpl21Plus = "LGPL-2.1-or-later";
    mit = "MIT";
    mpl20 = "MPL-2.0";
    unfree = null;
  }
