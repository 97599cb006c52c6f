//! What the demo shows: for a person to read in 80 columns, or one JSON object for each step.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// Columns of text, its indent included.
const WIDTH: usize = 78;

/// Where the demo writes.
pub(super) struct Page<'w> {
    out: &'w mut dyn Write,
    json: bool,
}

/// A step as `--json` prints it.
#[derive(Serialize)]
struct Outcome<'a> {
    step: &'a str,
    ok: bool,
    detail: &'a str,
}

impl<'w> Page<'w> {
    pub(super) fn new(out: &'w mut dyn Write, json: bool) -> Self {
        Self { out, json }
    }

    /// The demo begins, in `folder`.
    pub(super) fn title(&mut self, folder: &Path) -> io::Result<()> {
        self.put("Concordat: three fictional agencies share plate reads, or do not.\n")?;
        self.put("Everything is real but the agencies and what their cameras saw.\n")?;
        self.put(&format!("\n  $ D={}\n", folder.display()))
    }

    /// All steps ended; `failed` did not do what they should.
    pub(super) fn summary(&mut self, steps: usize, failed: &[&str]) -> io::Result<()> {
        let said = match failed {
            [] => format!("All {steps} steps did what they should."),
            failed => format!("{} of {steps} steps FAILED: {}.", failed.len(), failed.join(", ")),
        };
        self.put(&format!("\n{said}\n"))
    }

    /// Text that belongs to no step.
    pub(super) fn paragraph(&mut self, text: &str) -> io::Result<()> {
        self.put(&format!("\n{text}\n"))
    }

    /// A step begins.
    pub(super) fn heading(&mut self, number: usize, title: &str) -> io::Result<()> {
        self.put(&format!("\n{number}. {title}\n"))
    }

    /// The command that does the same.
    pub(super) fn typed(&mut self, command: &str) -> io::Result<()> {
        let lines = fold(&parts(command, WIDTH - 6), WIDTH - 6);
        self.put(&format!("  $ {}\n", lines.join(" \\\n      ")))
    }

    /// What came, or what it means: folded at the page's width, line by line.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines().flat_map(|line| fold(&words(line), WIDTH - 4)) {
            self.put(&format!("    {line}\n"))?;
        }
        Ok(())
    }

    /// Rows under headers, each column as wide as its widest cell.
    pub(super) fn table<const N: usize>(&mut self, headers: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
        let mut widths = headers.map(str::len);
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("    {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        self.put(&line(headers.to_vec()))?;
        rows.iter().try_for_each(|row| self.put(&line(row.iter().map(String::as_str).collect())))
    }

    /// A step ended.
    pub(super) fn outcome(&mut self, step: &str, result: &Result<String, String>) -> io::Result<()> {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        if self.json {
            serde_json::to_writer(&mut *self.out, &Outcome { step, ok, detail })?;
            self.out.write_all(b"\n")?;
        } else {
            let lines = fold(&words(detail), WIDTH - 10);
            let mark = if ok { "  ok    " } else { "  FAILED" };
            self.put(&format!("{mark}  {}\n", lines.join("\n          ")))?;
        }
        self.out.flush()
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// The words of a text.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The parts of a command that stay on one line: what stands in double quotes, and an option with its value. What is
/// longer than `width` is parted at its spaces.
fn parts(command: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        quoted ^= c == '"';
        match parts.last_mut() {
            Some(part) if c != ' ' || quoted || (part.starts_with("--") && !part.contains(' ')) => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    let part = |part: String| if part.chars().count() > width { words(&part) } else { vec![part] };
    parts.into_iter().filter(|part| !part.is_empty()).flat_map(part).collect()
}

/// Lines of at most `width` characters, where words let them be.
fn fold(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: bool) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(&mut out, json);
        page.heading(1, "Founding").unwrap();
        page.typed(&format!("concordat peer add FILE --fingerprint \"{}\" --as a", "25c2 ".repeat(16).trim())).unwrap();
        page.typed("concordat query 7ABC123 --ref case:2026-1 --reason \"seen at a burglary\" --peer CA0990000")
            .unwrap();
        page.say(&"words and words ".repeat(20)).unwrap();
        page.table(["plate", "n"], &[["7ABC123".to_owned(), "1".to_owned()]]).unwrap();
        page.outcome("founding", &Ok("three agencies ".repeat(10))).unwrap();
        page.outcome("reads", &Err("\"none\"".to_owned())).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pages_fit_80_columns_and_options_stay_with_their_values() {
        let shown = shown(false);
        assert_eq!(shown.lines().find(|line| line.chars().count() > 80), None, "{shown}");
        let query = "  $ concordat query 7ABC123 --ref case:2026-1 --reason \"seen at a burglary\" \\\n      --peer CA0990000\n";
        assert!(shown.contains(query), "{shown}");
        assert!(shown.contains("    plate    n\n    7ABC123  1\n"), "{shown}");
        assert!(shown.contains("  FAILED  \"none\"\n"), "{shown}");
    }

    #[test]
    fn as_json_there_is_an_object_for_each_step_and_nothing_else() {
        let steps: Vec<serde_json::Value> =
            shown(true).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[1], serde_json::json!({"step": "reads", "ok": false, "detail": "\"none\""}));
    }
}
