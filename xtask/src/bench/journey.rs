//! Both strategies, compared: the same host, disk and secrets, one run each,
//! one after the other on the same machine.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::cache::Cache;
use crate::journey::{self, Outcome};
use crate::lab::setup;

/// Makes the lab if it is not there, and both journeys inside it.
pub(crate) fn run() -> Result<ExitCode> {
    let cache = Cache::open()?;
    if let Some(code) = setup::rerun_inside(&cache, || Ok(()))? {
        return Ok(code);
    }
    let direct = made(&cache, "direct")?;
    let staged = made(&cache, "staged")?;
    print!("\n{}", table(&direct, &staged));
    Ok(ExitCode::SUCCESS)
}

/// Makes a journey whose claims must hold: a fast one that did not install is no result.
fn made(cache: &Cache, name: &str) -> Result<Outcome> {
    println!("\n── {name}");
    let outcome = journey::make(cache, &journey::named(name)?, false)?;
    ensure!(outcome.failed() == 0, "{} claims of {name} do not hold", outcome.failed());
    Ok(outcome)
}

/// Writes the seconds of each step in both, and of the whole, with ratios of staged to direct.
fn table(direct: &Outcome, staged: &Outcome) -> String {
    let mut text = format!("{:<12} {:>8} {:>8} {:>8}\n", "step", "direct", "staged", "ratio");
    let seconds = |outcome: &Outcome, id: &str| {
        let step = outcome.steps.iter().find(|step| step.id == id);
        step.and_then(|step| step.seconds)
    };
    for step in &direct.steps {
        text += &row(&step.id, seconds(direct, &step.id), seconds(staged, &step.id));
    }
    text + &row("bootstrap", Some(direct.seconds), Some(staged.seconds))
}

/// Writes one line of the table.
fn row(name: &str, direct: Option<f64>, staged: Option<f64>) -> String {
    let number = |seconds: Option<f64>| seconds.map_or("-".into(), |s| format!("{s:.1}"));
    // Of what takes next to no time a ratio says nothing.
    let ratio = match (direct, staged) {
        (Some(direct), Some(staged)) if direct >= 0.5 => format!("{:.2}", staged / direct),
        _ => "-".to_string(),
    };
    format!("{name:<12} {:>8} {:>8} {ratio:>8}\n", number(direct), number(staged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_told_where_they_mean_something() {
        assert_eq!(
            row("copy", Some(10.0), Some(15.0)),
            "copy             10.0     15.0     1.50\n"
        );
        assert!(row("lock", Some(0.1), Some(0.2)).ends_with(" -\n"));
        assert!(row("retire", None, None).contains("- "));
    }
}
