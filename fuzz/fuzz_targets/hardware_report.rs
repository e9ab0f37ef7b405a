//! No report of a target's hardware makes the parsers panic, and a module that counts as data
//! has no word in it that could do anything.
//!
//! The seeds are `tests/it/steps/hardware_reports`.
#![no_main]

use landfall::steps::hardware::{facter, generated};
use libfuzzer_sys::fuzz_target;

/// All words that a module of data may have, other than names.
const WORDS: &str = "config lib pkgs modulesPath imports boot initrd availableKernelModules \
    kernelModules extraModulePackages kernelPackages swraid enable luks devices device fileSystems \
    fsType options stratis poolUuid swapDevices networking useDHCP interfaces \
    enableIntel2200BGFirmware enableIntel3945ABGFirmware nixpkgs hostPlatform allowUnfreePackages \
    allowUnfreePredicate pkg builtins elem getName hardware cpu amd intel npu updateMicrocode \
    enableRedistributableFirmware parallels video hidpi virtualisation hypervGuest virtualbox guest \
    powerManagement cpuFreqGovernor mkDefault true false";

/// The text of a module with its strings empty and its comments gone.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.split('\n') {
        let mut in_string = false;
        for c in line.chars() {
            match c {
                '"' => in_string = !in_string,
                '#' if !in_string => break,
                _ if in_string => {
                    assert!(!matches!(c, '$' | '\\') && !c.is_control(), "{line:?}");
                    continue;
                }
                _ => {}
            }
            code.push(c);
        }
        assert!(!in_string, "{line:?}");
        code.push('\n');
    }
    code
}

fn is_harmless(code: &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut before = "";
    for part in code.split_inclusive(|c| !word(c)).flat_map(|part| {
        part.char_indices().last().map_or([part, ""], |(at, c)| match word(c) {
            true => [part, ""],
            false => [&part[..at], &part[at..]],
        })
    }) {
        let part = part.trim();
        if part.is_empty() || part == "." {
            continue;
        }
        let named = matches!(before, "kernelPackages" | "interfaces" | "devices");
        if part.chars().all(word) {
            assert!(named || WORDS.split_whitespace().any(|word| word == part), "{part:?}");
        } else {
            assert!("{}[]();=,.+:\"".contains(part), "{part:?}");
        }
        before = part;
    }
}

fuzz_target!(|text: &str| {
    if let Ok(module) = generated::parse(text) {
        let code = code(text);
        is_harmless(&code);
        assert!(!text.contains('\r'));
        // What is around it means nothing.
        assert_eq!(generated::parse(&format!("# a\n{text}\n# z\n")), Ok(module));
        assert!(generated::parse(&format!("{text}\nx")).is_err());
    }
    if let Ok(report) = facter::parse(text) {
        let again = serde_json::to_string_pretty(&report).expect("JSON");
        assert_eq!(facter::parse(&again), Ok(report));
    }
});
