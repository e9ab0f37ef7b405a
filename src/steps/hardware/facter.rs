//! The report of nixos-facter, checked as data: JSON of bounded size and depth without
//! duplicate keys, and of the shape that NixOS reads.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::generated::values::{is_name, is_platform};

/// The largest report that is read: large servers have one of about a megabyte.
pub(crate) const MOST_BYTES: usize = 8 << 20;
/// Reports are about ten levels deep.
const DEEPEST: usize = 32;

/// The report in what was printed, and the platform that it names. Lines of log before it
/// are left out: some versions and wrappers print them to the same stream.
pub fn parse(printed: &str) -> Result<Value, String> {
    let start =
        if printed.starts_with('{') { Some(0) } else { printed.find("\n{").map(|at| at + 1) };
    let json = &printed[start.ok_or("there is no JSON in it")?..];
    let mut reader = serde_json::Deserializer::from_str(json);
    let value = Level(0).deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    shape(&value)?;
    names(&value)?;
    Ok(value)
}

/// The platform that a report is for.
pub(crate) fn platform(report: &Value) -> Option<&str> {
    report.get("system").and_then(Value::as_str)
}

fn shape(report: &Value) -> Result<(), String> {
    let found = |name: &str| report.get(name).ok_or_else(|| format!("it has no {name:?}"));
    let (version, system, hardware) = (found("version")?, found("system")?, found("hardware")?);
    if !version.is_u64() {
        return Err("its version is no number".to_owned());
    }
    if !system.as_str().is_some_and(is_platform) {
        return Err("its system is no platform of NixOS".to_owned());
    }
    if !hardware.is_object() {
        return Err("its hardware is no object".to_owned());
    }
    Ok(())
}

/// NixOS makes configuration of the names of modules and interfaces: they have to be names.
fn names(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(names),
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            match key.as_str() {
                "driver_module" | "driver_modules" => named(key, value, is_name),
                "unix_device_name" | "unix_device_names" => {
                    named(key, value, |name| name.starts_with("/dev/") || is_name(name))
                }
                _ => Ok(()),
            }?;
            names(value)
        }),
        _ => Ok(()),
    }
}

fn named(key: &str, value: &Value, is_right: impl Fn(&str) -> bool) -> Result<(), String> {
    let all = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let right = all.iter().all(|item| match item {
        Value::Null => true,
        item => item.as_str().is_some_and(&is_right),
    });
    if right { Ok(()) } else { Err(format!("{key} has something that is no name")) }
}

/// Reads a value at this depth.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.0 == DEEPEST {
            Err(E::custom("it is nested too deeply"))
        } else {
            Ok(Self(self.0 + 1))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("{key:?} is there twice")));
            }
            let value = entries.next_value_seed(below)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"version": 1, "system": "x86_64-linux", "hardware": {"cpu": []}}"#;

    fn with(hardware: &str) -> Result<Value, String> {
        parse(&REPORT.replace(r#"{"cpu": []}"#, hardware))
    }

    #[test]
    fn a_report_is_json_and_nothing_else() {
        let clean = parse(REPORT).unwrap();
        assert_eq!(platform(&clean), Some("x86_64-linux"));
        let noisy = format!("2026/01/01 INFO reading {{pci}}\nwarning: x\n{REPORT}");
        assert_eq!(parse(&noisy).unwrap(), clean);
        let all = r#"{"a": [1, -2, 0.5, true, null, "\u001b[31m"], "b": {"c": {}}}"#;
        let value: Value = serde_json::from_str(all).unwrap();
        assert_eq!(with(all).unwrap()["hardware"], value);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for bad in [
            "",
            "error: no permission",
            "{}",
            "{\"version\": 1",
            &format!("{REPORT}\nINFO done"),
            "[1]",
            &REPORT.replace("1,", "\"1\","),
            &REPORT.replace("x86_64-linux", "x86_64-linux; evil"),
            &REPORT.replace(r#"{"cpu": []}"#, "[]"),
            &REPORT.replace("\"cpu\"", "\"system\": 1, \"system\""),
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_names_and_depth_has_an_end() {
        let device = r#"{"disk": [{"driver_modules": ["ahci", "sd_mod"],
            "unix_device_names": ["/dev/disk/by-label/EFI\\x20System"]}],
            "network_interface": [{"unix_device_name": "wlp0s20f3", "driver_module": null}]}"#;
        with(device).unwrap();
        for (right, wrong) in [("sd_mod", "sd_mod\\n-x"), ("wlp0s20f3", "$(reboot)"), ("null", "1")]
        {
            with(&device.replace(right, wrong)).unwrap_err();
        }
        let nested =
            |depth: usize| format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        with(&nested(DEEPEST - 2)).unwrap();
        assert!(with(&nested(DEEPEST - 1)).unwrap_err().contains("too deeply"));
        assert!(with(&nested(100_000)).unwrap_err().contains("too deeply"));
    }
}
