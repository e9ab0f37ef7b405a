//! How text may look where it goes: colour, and how many columns there are.
//!
//! The place in the flow is between the text that `ui`, `plan` and the commands
//! make and the stream that it is written to. Nothing else writes escape codes.

use std::io::IsTerminal;

use clap::ValueEnum;
use console::{Color, Term};

/// The `--color` flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// What a stream can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// Columns of the terminal; none where lines may be as long as they are.
    pub columns: Option<usize>,
}

/// The facts of the environment that decide about colour.
#[derive(Debug, Clone, Default)]
struct Surroundings {
    no_color: bool,
    force: bool,
    dumb: bool,
    terminal: bool,
}

impl Surroundings {
    fn of(terminal: bool) -> Self {
        let filled = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let force = std::env::var_os("CLICOLOR_FORCE");
        Self {
            no_color: filled("NO_COLOR"),
            force: force.is_some_and(|value| !value.is_empty() && value != "0"),
            dumb: is_dumb(),
            terminal,
        }
    }

    fn wants_color(&self, choice: ColorChoice) -> bool {
        match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !self.no_color && (self.force || (self.terminal && !self.dumb)),
        }
    }
}

/// Whether the terminal cannot move its cursor.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

impl Style {
    /// No colour and no limit: for files and pipes.
    pub const PLAIN: Self = Self { color: false, columns: None };

    pub(crate) fn stdout(choice: ColorChoice) -> Self {
        Self::of(choice, std::io::stdout().is_terminal(), &Term::stdout())
    }

    pub(crate) fn stderr(choice: ColorChoice) -> Self {
        Self::of(choice, std::io::stderr().is_terminal(), &Term::stderr())
    }

    fn of(choice: ColorChoice, terminal: bool, term: &Term) -> Self {
        let columns = terminal.then(|| term.size_checked()).flatten();
        Self {
            color: Surroundings::of(terminal).wants_color(choice),
            columns: columns.map(|(_, columns)| usize::from(columns)),
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint(text, |style| style.fg(Color::Green))
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(text, |style| style.fg(Color::Red).bold())
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.paint(text, |style| style.fg(Color::Yellow))
    }

    pub(crate) fn active(self, text: &str) -> String {
        self.paint(text, |style| style.fg(Color::Cyan))
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint(text, console::Style::bold)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint(text, console::Style::dim)
    }

    fn paint(self, text: &str, how: impl FnOnce(console::Style) -> console::Style) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        how(console::Style::new().force_styling(true)).apply_to(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_follows_the_flag_then_the_environment_then_the_terminal() {
        let pipe = Surroundings::default();
        let terminal = Surroundings { terminal: true, ..pipe.clone() };
        let cases = [
            (ColorChoice::Always, pipe.clone(), true),
            (ColorChoice::Never, terminal.clone(), false),
            (ColorChoice::Auto, pipe.clone(), false),
            (ColorChoice::Auto, terminal.clone(), true),
            (ColorChoice::Auto, Surroundings { dumb: true, ..terminal.clone() }, false),
            (ColorChoice::Auto, Surroundings { no_color: true, ..terminal }, false),
            (ColorChoice::Auto, Surroundings { force: true, ..pipe.clone() }, true),
            (ColorChoice::Auto, Surroundings { force: true, no_color: true, ..pipe }, false),
        ];
        for (choice, surroundings, expected) in cases {
            assert_eq!(surroundings.wants_color(choice), expected, "{choice:?} {surroundings:?}");
        }
    }

    #[test]
    fn without_color_text_stays_as_it_is() {
        assert_eq!(Style::PLAIN.bad("no"), "no");
        let colored = Style { color: true, columns: None };
        assert_eq!(console::strip_ansi_codes(&colored.bad("no")), "no");
        assert_ne!(colored.bad("no"), "no");
    }
}
