//! What ssh asks on the way to the target is answered: by a password that was given, or by
//! a person.

use std::os::unix::ffi::OsStringExt;

use crate::cli::args::ConnectionArgs;
use crate::error::{Exit, StepError};
use crate::secret::Secret;
use crate::ssh::{Askpass, AskpassResponder};
use crate::steps::context::Context;

/// Begins to answer, for all connections to the target.
pub(crate) fn start(cx: &mut Context, connection: &ConnectionArgs) -> Result<(), StepError> {
    let password = connection.env_password.then(given_password).transpose()?;
    let Some(target) = &cx.connection.address else { return Ok(()) };
    let responder = AskpassResponder::new(
        target.host.clone(),
        cx.prompter.clone(),
        cx.events.clone(),
        password,
    );
    let program = std::env::current_exe().map_err(|error| {
        StepError::new("landfall does not find itself", error.to_string(), "Start it by its path.")
    })?;
    let askpass = Askpass::serve(&program, &cx.dir, responder)?;
    if let Some(target) = &mut cx.connection.address {
        target.askpass = Some(askpass);
    }
    Ok(())
}

fn given_password() -> Result<Secret, StepError> {
    let password = std::env::var_os("SSHPASS").map(OsStringExt::into_vec).unwrap_or_default();
    if password.is_empty() || password.iter().any(|byte| b"\n\0".contains(byte)) {
        return Err(StepError::new(
            "--env-password finds no password",
            "the environment variable SSHPASS is not set, empty, or of several lines",
            "Set it, for one command: SSHPASS=… landfall …; without the flag it is asked for.",
        )
        .exit(Exit::Usage));
    }
    Ok(Secret::new(password))
}
