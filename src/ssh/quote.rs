//! Quotes words for the remote shell; no other module does.

/// Returns the command line with which the remote login shell runs exactly `argv`.
///
/// ssh passes one string to the login shell of the remote user. Its words are quoted for POSIX
/// shells and fish alike: backslashes are outside of the single quotes, because fish interprets
/// them inside too.
pub(crate) fn remote_command<S: AsRef<str>>(argv: &[S]) -> String {
    argv.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// Quotes one word.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('\'');
    for c in word.chars() {
        match c {
            '\'' => quoted.push_str(r"'\''"),
            '\\' => quoted.push_str(r"'\\'"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let words = [
            "",
            "plain",
            "two words",
            "it's",
            r"back\slash",
            r"\'",
            "$HOME",
            "`id`",
            "*",
            "~",
            "a=b",
            "=ls",
            "#x",
            "a\nb",
            "\t",
            "!x",
            "é…",
            "-n",
            "a;b|c&d",
            "(x)",
            "{a,b}",
            r#""q""#,
        ];
        let command = remote_command(&[&["printf", r"%s\0"][..], &words].concat());
        let output = Cmd::new("sh").args(["-c", &command]).run().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), words);
    }
}
