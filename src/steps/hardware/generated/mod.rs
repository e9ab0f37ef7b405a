//! What nixos-generate-config prints, read as data.
//!
//! The text comes from a machine that nobody vouches for, and becomes part of a
//! configuration that is evaluated and shared. So it is accepted only as far as it can say
//! nothing but what hardware there is: a function of the usual arguments, and in its set
//! known attributes with literal values. Nothing is evaluated here, and what is accepted
//! means to Nix what it means here.

mod attributes;
mod tokens;
pub(crate) mod values;

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use attributes::{Shape, shape};
use tokens::{Token, TokenKind, tokens};

/// The largest text that is read: some hundred times what a machine reports.
pub const MOST_BYTES: usize = 64 << 10;
/// The most elements that a list has.
const LONGEST_LIST: usize = 512;
const ARGUMENTS: [&str; 4] = ["config", "lib", "pkgs", "modulesPath"];

/// A hardware module as data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    pub settings: Vec<Setting>,
}

/// An attribute and its value. What depends on the configuration (`modulesPath + "/x"`,
/// `config.boot.kernelPackages.x`) is the text that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub path: Vec<String>,
    pub value: Value,
}

/// Lines that nixos-generate-config does not print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Counted from 1.
    pub(crate) lines: RangeInclusive<usize>,
    pub(crate) why: String,
}

impl Module {
    /// The platform that the module names.
    pub(crate) fn platform(&self) -> Option<&str> {
        let named = |setting: &&Setting| setting.path == ["nixpkgs", "hostPlatform"];
        self.settings.iter().find(named).and_then(|setting| setting.value.as_str())
    }
}

/// Reads a module; else says which of its lines are none of a hardware configuration.
pub fn parse(text: &str) -> Result<Module, Vec<Outside>> {
    if text.len() > MOST_BYTES {
        return Err(vec![Outside { lines: 1..=1, why: "the file is too long".to_owned() }]);
    }
    let hidden = |line: &str| line.chars().any(values::is_hidden);
    let deceiving = text.split('\n').enumerate().filter(|(_, line)| hidden(line));
    let why = "it has a character that cannot be seen";
    let mut outside: Vec<Outside> = deceiving
        .map(|(index, _)| Outside { lines: index + 1..=index + 1, why: why.to_owned() })
        .collect();
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let module = parser.module(&mut outside);
    if outside.is_empty() { Ok(module) } else { Err(outside) }
}

/// Why a token cannot stand where it does.
type Refused = String;

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<TokenKind<'a>> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    /// The line of the token that comes next, or of the last one.
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn next(&mut self, wanted: &str) -> Result<TokenKind<'a>, Refused> {
        let kind = self.peek().ok_or_else(|| format!("it ends where {wanted} should be"))?;
        if let TokenKind::Foreign(what) = kind {
            return Err(what.to_owned());
        }
        self.at += 1;
        Ok(kind)
    }

    fn skip(&mut self, kind: TokenKind<'_>) -> bool {
        let there = self.peek() == Some(kind);
        self.at += usize::from(there);
        there
    }

    fn mark(&mut self, mark: char) -> Result<(), Refused> {
        let wanted = format!("{mark:?}");
        match self.next(&wanted)? {
            TokenKind::Mark(found) if found == mark => Ok(()),
            _ => Err(format!("{wanted} should stand where something else does")),
        }
    }

    /// These words with dots between them.
    fn words(&mut self, words: &str) -> Result<(), Refused> {
        for (index, word) in words.split('.').enumerate() {
            if index > 0 {
                self.mark('.')?;
            }
            if self.next(words)? != TokenKind::Word(word) {
                return Err(format!("only {words} may stand there"));
            }
        }
        Ok(())
    }

    fn text(&mut self, is_right: impl Fn(&str) -> bool) -> Result<String, Refused> {
        match self.next("a string")? {
            TokenKind::Text(text) if is_right(text) => Ok(text.to_owned()),
            TokenKind::Text(_) => Err("a value that this attribute cannot have".to_owned()),
            _ => Err("a string should stand where something else does".to_owned()),
        }
    }

    fn module(&mut self, outside: &mut Vec<Outside>) -> Module {
        let line = self.line();
        if let Err(why) = self.header() {
            outside.push(Outside { lines: line..=self.line(), why });
            return Module::default();
        }
        let mut module = Module::default();
        while !matches!(self.peek(), None | Some(TokenKind::Mark('}'))) {
            let (line, start) = (self.line(), self.at);
            match self.setting() {
                Ok(setting) if module.settings.iter().all(|it| it.path != setting.path) => {
                    module.settings.push(setting);
                }
                Ok(_) => {
                    let why = "the attribute is set before".to_owned();
                    outside.push(Outside { lines: line..=line, why });
                }
                Err(why) => {
                    self.leave_setting(start);
                    let last = self.tokens.get(self.at.saturating_sub(1));
                    let last = last.map_or(line, |token| token.line.max(line));
                    outside.push(Outside { lines: line..=last, why });
                }
            }
        }
        let line = self.line();
        let ended = self.mark('}');
        if let Err(why) = ended {
            outside.push(Outside { lines: line..=line, why });
        } else if self.peek().is_some() {
            let last = self.tokens.last().map_or(line, |token| token.line);
            let why = "it goes on behind the end of the module".to_owned();
            outside.push(Outside { lines: self.line()..=last, why });
        }
        module
    }

    /// `{ config, lib, pkgs, modulesPath, ... }: {`, with some of the arguments.
    fn header(&mut self) -> Result<(), Refused> {
        let begin = || "it does not begin as { config, lib, pkgs, modulesPath, ... }: {".to_owned();
        let mut seen = Vec::new();
        self.mark('{').map_err(|_| begin())?;
        while !self.skip(TokenKind::Ellipsis) {
            match self.next("an argument")? {
                TokenKind::Word(name) if ARGUMENTS.contains(&name) && !seen.contains(&name) => {
                    seen.push(name);
                }
                _ => return Err(begin()),
            }
            self.mark(',').map_err(|_| begin())?;
        }
        self.mark('}')
            .and_then(|()| self.mark(':'))
            .and_then(|()| self.mark('{'))
            .map_err(|_| begin())
    }

    /// Goes behind the semicolon that ends the setting at `start`, as far as can be told.
    fn leave_setting(&mut self, start: usize) {
        let mut depth = 0_usize;
        self.at = start;
        while let Some(kind) = self.peek() {
            match kind {
                TokenKind::Mark('{' | '[' | '(') => depth += 1,
                TokenKind::Mark('}') if depth == 0 => return,
                TokenKind::Mark('}' | ']' | ')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if kind == TokenKind::Mark(';') && depth == 0 {
                return;
            }
        }
    }

    fn setting(&mut self) -> Result<Setting, Refused> {
        let mut path = vec![self.part()?];
        while self.skip(TokenKind::Mark('.')) {
            path.push(self.part()?);
        }
        let shape = shape(&path)
            .ok_or_else(|| "an attribute that nixos-generate-config does not set".to_owned())?;
        self.mark('=')?;
        let value = self.value(shape)?;
        self.mark(';')?;
        Ok(Setting { path: path.into_iter().map(str::to_owned).collect(), value })
    }

    fn part(&mut self) -> Result<&'a str, Refused> {
        match self.next("an attribute")? {
            TokenKind::Word(part) if !values::is_keyword(part) => Ok(part),
            TokenKind::Text(part) => Ok(part),
            _ => Err("the name of an attribute should stand there".to_owned()),
        }
    }

    fn value(&mut self, shape: Shape) -> Result<Value, Refused> {
        match shape {
            Shape::Imports => self.list(Self::import),
            Shape::Modules => self.list(|parser| parser.text(values::is_name).map(Value::from)),
            Shape::Packages => self.list(Self::package),
            Shape::UnfreeList => self.unfree(),
            Shape::UnfreePredicate => self.unfree_predicate(),
            Shape::Swap => self.list(Self::swap_device),
            Shape::FileSystem => self.file_system(),
            Shape::Device => self.scalar(|parser| parser.text(values::is_device).map(Value::from)),
            Shape::Flag => self.scalar(Self::flag),
            Shape::Firmware => self.scalar(Self::firmware),
            Shape::Platform => {
                self.scalar(|parser| parser.text(values::is_platform).map(Value::from))
            }
            Shape::Governor => {
                self.scalar(|parser| parser.text(values::is_governor).map(Value::from))
            }
        }
    }

    /// A value, or the default that it is.
    fn scalar(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<Value, Refused>,
    ) -> Result<Value, Refused> {
        if self.peek() == Some(TokenKind::Word("lib")) {
            self.words("lib.mkDefault")?;
        }
        value(self)
    }

    fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<Value, Refused>,
    ) -> Result<Value, Refused> {
        self.mark('[')?;
        let mut elements = Vec::new();
        while !self.skip(TokenKind::Mark(']')) {
            if elements.len() == LONGEST_LIST {
                return Err("the list is too long".to_owned());
            }
            elements.push(element(self)?);
        }
        Ok(Value::Array(elements))
    }

    fn flag(&mut self) -> Result<Value, Refused> {
        match self.next("true or false")? {
            TokenKind::Word("true") => Ok(Value::Bool(true)),
            TokenKind::Word("false") => Ok(Value::Bool(false)),
            _ => Err("only true or false may stand there".to_owned()),
        }
    }

    fn firmware(&mut self) -> Result<Value, Refused> {
        if self.peek() != Some(TokenKind::Word("config")) {
            return self.flag();
        }
        let option = "config.hardware.enableRedistributableFirmware";
        self.words(option)?;
        Ok(Value::from(option))
    }

    /// `(modulesPath + "/known.nix")`.
    fn import(&mut self) -> Result<Value, Refused> {
        let known = "only (modulesPath + \"…\") with a known module may stand there";
        self.mark('(').and_then(|()| self.words("modulesPath")).map_err(|_| known.to_owned())?;
        self.mark('+')?;
        let name = self.text(values::is_import).map_err(|_| known.to_owned())?;
        self.mark(')')?;
        Ok(Value::from(format!("modulesPath{name}")))
    }

    fn package(&mut self) -> Result<Value, Refused> {
        self.words("config.boot.kernelPackages")?;
        self.mark('.')?;
        match self.next("a package")? {
            TokenKind::Word(name) if values::is_package(name) => {
                Ok(Value::from(format!("config.boot.kernelPackages.{name}")))
            }
            _ => Err("only a package of the kernel's may stand there".to_owned()),
        }
    }

    fn unfree(&mut self) -> Result<Value, Refused> {
        self.list(|parser| parser.text(|name| name == "prl-tools").map(Value::from))
    }

    /// `pkg: builtins.elem (lib.getName pkg) [ "prl-tools" ]`, to the word.
    fn unfree_predicate(&mut self) -> Result<Value, Refused> {
        self.words("pkg")?;
        self.mark(':')?;
        self.words("builtins.elem")?;
        self.mark('(')?;
        self.words("lib.getName")?;
        self.words("pkg")?;
        self.mark(')')?;
        self.unfree()
    }

    fn swap_device(&mut self) -> Result<Value, Refused> {
        self.mark('{')?;
        self.words("device")?;
        self.mark('=')?;
        let device = self.text(values::is_device)?;
        self.mark(';')?;
        self.mark('}')?;
        Ok(json!({ "device": device }))
    }

    /// `{ device = "…"; fsType = "…"; options = [ … ]; stratis.poolUuid = "…"; }`.
    fn file_system(&mut self) -> Result<Value, Refused> {
        self.mark('{')?;
        let mut found = Map::new();
        while !self.skip(TokenKind::Mark('}')) {
            let (name, value) = self.of_file_system()?;
            self.mark(';')?;
            if found.insert(name.to_owned(), value).is_some() {
                return Err("the attribute is set twice".to_owned());
            }
        }
        let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
        let options = found.get("options").and_then(Value::as_array);
        let options: Vec<&str> = options.into_iter().flatten().filter_map(Value::as_str).collect();
        if values::device_fits(text("fsType"), text("device"), &options) {
            Ok(Value::Object(found))
        } else {
            Err("it is no file system on a disk of the machine".to_owned())
        }
    }

    fn of_file_system(&mut self) -> Result<(&'a str, Value), Refused> {
        let name = self.part()?;
        if name == "stratis" {
            self.mark('.')?;
            self.words("poolUuid")?;
        }
        self.mark('=')?;
        let value = match name {
            "device" => self.text(|_| true).map(Value::from)?,
            "fsType" => self.text(values::is_name).map(Value::from)?,
            "options" => self.list(|parser| parser.text(values::is_option).map(Value::from))?,
            "stratis" => json!({ "poolUuid": self.text(values::is_pool_uuid)? }),
            _ => return Err("an attribute that nixos-generate-config does not set".to_owned()),
        };
        Ok((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(text: &str) -> Vec<(usize, usize)> {
        let found = parse(text).expect_err("it is not data");
        found.into_iter().map(|it| (*it.lines.start(), *it.lines.end())).collect()
    }

    fn module(body: &str) -> String {
        format!("{{ config, lib, pkgs, modulesPath, ... }}: {{\n{body}\n}}\n")
    }

    #[test]
    fn every_line_that_is_outside_is_told() {
        let text = module(
            "boot.kernelModules = [ \"kvm-intel\" ];\n\
             users.users.root.openssh.authorizedKeys.keys = [\n\"ssh-ed25519 AAAA\"\n];\n\
             networking.useDHCP = lib.mkDefault true;\n\
             swapDevices = [ { device = \"//server/swap\"; } ];\n\
             boot.kernelModules = [ ];",
        );
        assert_eq!(outside(&text), [(3, 5), (7, 7), (8, 8)]);
        assert_eq!(outside(&format!("{}{{ }}", module(""))), [(4, 4)]);
        assert_eq!(outside("{ lib, ... }: {\n# a\r\n}"), [(2, 2)]);
        assert_eq!(outside("let a = 1; in { ... }: { }"), [(1, 1)]);
        assert_eq!(outside(""), [(1, 1)]);
        assert_eq!(outside(&" ".repeat(MOST_BYTES + 1)), [(1, 1)]);
    }

    #[test]
    fn the_platform_is_known() {
        let named = parse(&module("nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\";"));
        assert_eq!(named.unwrap().platform(), Some("x86_64-linux"));
        assert_eq!(parse(&module("")).unwrap().platform(), None);
    }

    #[test]
    fn lists_end() {
        let names = "\"a\" ".repeat(LONGEST_LIST);
        assert!(parse(&module(&format!("boot.kernelModules = [ {names}];"))).is_ok());
        assert!(parse(&module(&format!("boot.kernelModules = [ {names}\"b\" ];"))).is_err());
    }
}
