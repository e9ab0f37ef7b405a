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
pub fn ask(socket: &Path, command: &str) -> Result<Value> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot reach QEMU at {}", socket.display()))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    lines.next().context("QEMU does not greet")??;
    let mut answer = Value::Null;
    for name in ["qmp_capabilities", command] {
        writeln!(&stream, "{}", json!({ "execute": name }))?;
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
