//! What a command prints on standard output: a table that fits the terminal, plain columns into a pipe, or JSON.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// Who reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A person at a terminal of so many columns.
    Terminal(u16),
    /// A pipe or a file: columns parted by tabs, without decoration.
    Plain,
    /// A program: JSON.
    Json,
}

/// Where a command prints.
pub struct Output<'w> {
    form: Form,
    to: &'w mut dyn Write,
}

impl<'w> Output<'w> {
    /// Prints in `form` to `to`.
    pub fn new(form: Form, to: &'w mut dyn Write) -> Self {
        Self { form, to }
    }

    /// The form.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Where it is written, for what has a form of its own.
    pub fn writer(&mut self) -> &mut dyn Write {
        self.to
    }

    /// Whether a person reads it, at a terminal or through a pipe.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        self.form != Form::Json
    }

    /// A list: a table with `headers`, one row of `cells` for each item; as JSON, one array of the items.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn list<T: Serialize>(
        &mut self,
        headers: &[&str],
        items: &[T],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> io::Result<()> {
        let rows = items.iter().map(|item| cells(item).iter().map(|cell| printable(cell)).collect::<Vec<_>>());
        match self.form {
            Form::Json => self.json(&items),
            Form::Plain => {
                writeln!(self.to, "{}", headers.join("\t"))?;
                rows.into_iter().try_for_each(|row| writeln!(self.to, "{}", row.join("\t")))
            }
            Form::Terminal(width) => {
                let mut table = Table::new();
                table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(width).set_header(headers.iter().copied()).add_rows(rows);
                writeln!(self.to, "{}", table.trim_fmt())
            }
        }
    }

    /// One thing: `text` for people, an object as JSON.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn one<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self.form {
            Form::Json => self.json(value),
            Form::Plain | Form::Terminal(_) => {
                let text = text(value);
                text.lines().try_for_each(|line| writeln!(self.to, "{}", printable(line)))
            }
        }
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut *self.to, value)?;
        self.to.write_all(b"\n")
    }
}

/// The form that suits standard output.
#[must_use]
pub fn form_of_stdout(json: bool) -> Form {
    if json {
        return Form::Json;
    }
    if !io::stdout().is_terminal() {
        return Form::Plain;
    }
    Form::Terminal(Table::new().width().unwrap_or(100))
}

/// `text` without what would move a terminal's cursor or turn its writing round: partners' texts are printed too.
#[must_use]
pub fn printable(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Partner {
        name: &'static str,
        outcome: &'static str,
    }

    const PARTNERS: [Partner; 2] = [
        Partner {
            name: "Birch City Police",
            outcome: "denied: the reason is too vague to check, so write what happened",
        },
        Partner { name: "Ev\u{1b}[2Jil\u{202e}", outcome: "a\tb" },
    ];

    fn printed(form: Form) -> String {
        let mut to = Vec::new();
        Output::new(form, &mut to)
            .list(&["partner", "outcome"], &PARTNERS, |p| vec![p.name.to_owned(), p.outcome.to_owned()])
            .unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn a_table_fits_the_terminal_and_cannot_control_it() {
        let table = printed(Form::Terminal(40));
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
        assert!(table.contains("Birch City") && table.contains("outcome"), "{table}");
        assert!(!table.contains(['\u{1b}', '\u{202e}']), "{table}");
    }

    #[test]
    fn a_pipe_gets_columns_and_a_program_json() {
        let plain = printed(Form::Plain);
        assert_eq!(plain.lines().next(), Some("partner\toutcome"));
        assert!(plain.lines().all(|line| line.matches('\t').count() == 1), "{plain}");
        let json: serde_json::Value = serde_json::from_str(&printed(Form::Json)).unwrap();
        assert_eq!(json[0]["name"], "Birch City Police");
        let mut to = Vec::new();
        Output::new(Form::Plain, &mut to).one(&PARTNERS[1], |p| format!("{}\nnext", p.name)).unwrap();
        assert_eq!(String::from_utf8(to).unwrap(), "Ev\u{fffd}[2Jil\u{fffd}\nnext\n");
    }
}
