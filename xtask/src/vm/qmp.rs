//! Commands for a running QEMU, over its control socket.
//!
//! The protocol is QEMU's machine protocol: a greeting, `qmp_capabilities`, then one JSON
//! object a line in either direction; events stand between the answers.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs one command without arguments and gives what it returns.
pub(crate) fn ask(socket: &Path, command: &str) -> Result<Value> {
    ask_with(socket, command, &json!({}))
}

/// Runs a command of QEMU's monitor for people, and gives what it prints.
pub(crate) fn monitor(socket: &Path, line: &str) -> Result<String> {
    let said = ask_with(socket, "human-monitor-command", &json!({ "command-line": line }))?;
    Ok(said.as_str().unwrap_or_default().trim().to_string())
}

fn ask_with(socket: &Path, command: &str, arguments: &Value) -> Result<Value> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot reach QEMU at {}", socket.display()))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    lines.next().context("QEMU does not greet")??;
    let mut answer = Value::Null;
    for (name, arguments) in [("qmp_capabilities", &json!({})), (command, arguments)] {
        writeln!(&stream, "{}", json!({ "execute": name, "arguments": arguments }))?;
        answer = loop {
            let line = lines.next().with_context(|| format!("QEMU does not answer {name}"))??;
            let mut said: Value = serde_json::from_str(&line)?;
            if let Some(error) = said.get("error") {
                bail!("QEMU refuses {name}: {error}");
            }
            if said.get("return").is_some() {
                break said["return"].take();
            }
        };
    }
    Ok(answer)
}
