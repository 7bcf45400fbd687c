//! Data for people, as tables, and for programs, as JSON. Where it goes is the caller's affair.

use std::io::{self, Write};

use comfy_table::{ColumnConstraint, Table, Width, presets};
use serde::Serialize;

use crate::membership::records::User;
use crate::membership::snapshot::UserRecord;
use crate::runtime::version::OutputFormat;

/// Writes one JSON document and a line end.
///
/// # Errors
/// Those of the writer.
pub fn json<T: Serialize + ?Sized>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// Writes names and values in two columns.
///
/// # Errors
/// Those of the writer.
pub fn pairs(out: &mut dyn Write, rows: &[(&str, String)]) -> io::Result<()> {
    let mut table = plain();
    for (name, value) in rows {
        table.add_row([*name, value.as_str()]);
    }
    finish(&mut table, out)
}

/// One user.
///
/// # Errors
/// Those of the writer.
pub fn user(out: &mut dyn Write, user: User, output: OutputFormat) -> io::Result<()> {
    match output {
        OutputFormat::Json => json(out, &record(user)),
        OutputFormat::Text => {
            let User { key, handle, role, status } = user;
            let rows = [
                ("KEY", key.to_string()),
                ("HANDLE", handle.to_string()),
                ("ROLE", role.to_string()),
                ("STATUS", status.to_string()),
            ];
            pairs(out, &rows)
        }
    }
}

/// Users page by page: a long list is never in memory as a whole.
pub struct UserList<'o> {
    out: &'o mut dyn Write,
    output: OutputFormat,
    written: u64,
}

impl<'o> UserList<'o> {
    /// A list that goes to this writer.
    pub fn new(out: &'o mut dyn Write, output: OutputFormat) -> Self {
        Self { out, output, written: 0 }
    }

    /// Writes the next users.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn add(&mut self, users: Vec<User>) -> io::Result<()> {
        match self.output {
            OutputFormat::Text => self.add_rows(users),
            OutputFormat::Json => users.into_iter().try_for_each(|user| self.add_json(user)),
        }
    }

    fn add_json(&mut self, user: User) -> io::Result<()> {
        let before = if self.written == 0 { "[" } else { ",\n" };
        self.written += 1;
        self.out.write_all(before.as_bytes())?;
        Ok(serde_json::to_writer(&mut *self.out, &record(user))?)
    }

    fn add_rows(&mut self, users: Vec<User>) -> io::Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let mut table = plain();
        if self.written == 0 {
            table.set_header(["KEY", "ROLE", "STATUS", "HANDLE"]);
        }
        for User { key, handle, role, status } in users {
            self.written += 1;
            table.add_row([&key.to_string(), role.as_str(), status.as_str(), handle.as_str()]);
        }
        // All pages have the same widths, as if they were one table.
        table.set_constraints(
            [66, 9, 10].map(|wide| ColumnConstraint::Absolute(Width::Fixed(wide))),
        );
        finish(&mut table, self.out)
    }

    /// Ends the list.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end(self) -> io::Result<()> {
        match (self.output, self.written) {
            (OutputFormat::Text, 0) => writeln!(self.out, "no users"),
            (OutputFormat::Text, _) => Ok(()),
            (OutputFormat::Json, 0) => writeln!(self.out, "[]"),
            (OutputFormat::Json, _) => writeln!(self.out, "]"),
        }
    }
}

fn record(user: User) -> UserRecord {
    let User { key, handle, role, status } = user;
    UserRecord { key, handle, role, status }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn finish(table: &mut Table, out: &mut dyn Write) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    writeln!(out, "{}", table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::records::{UserRole, UserStatus};

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn ada(handle: &str) -> User {
        User {
            key: KEY.parse().unwrap(),
            handle: handle.parse().unwrap(),
            role: UserRole::Admin,
            status: UserStatus::Active,
        }
    }

    fn listed(pages: &[&[&str]], output: OutputFormat) -> String {
        let mut out = Vec::new();
        let mut list = UserList::new(&mut out, output);
        for page in pages {
            list.add(page.iter().map(|handle| ada(handle)).collect()).unwrap();
        }
        list.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_in_pages_reads_as_one_table() {
        let text = listed(&[&["Ada"], &["Bob with a long name", "C"]], OutputFormat::Text);
        let lines: Vec<&str> = text.lines().collect();
        let column = lines[0].find("HANDLE").unwrap();
        assert_eq!(lines.len(), 4, "{text}");
        for (line, handle) in lines[1..].iter().zip(["Ada", "Bob with a long name", "C"]) {
            assert_eq!(&line[column..], handle, "{text}");
            assert!(line.contains(KEY));
        }
        assert_eq!(listed(&[&[]], OutputFormat::Text), "no users\n");
    }

    #[test]
    fn a_list_in_pages_is_one_json_document() {
        for (pages, count) in
            [(&[&[][..]][..], 0), (&[&["A"]], 1), (&[&["A", "B"], &[], &["C"]], 3)]
        {
            let text = listed(pages, OutputFormat::Json);
            let users: Vec<UserRecord> = serde_json::from_str(&text).unwrap();
            assert_eq!(users.len(), count, "{text}");
        }
    }

    #[test]
    fn one_user_reads_as_words_and_as_json() {
        let shown = |output| {
            let mut out = Vec::new();
            user(&mut out, ada("Ada L"), output).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = shown(OutputFormat::Text);
        assert!(text.lines().any(|line| line == "HANDLE  Ada L"), "{text}");
        assert_eq!(
            shown(OutputFormat::Json),
            format!(
                "{{\"key\":\"{KEY}\",\"handle\":\"Ada L\",\"role\":\"admin\",\"status\":\"active\"}}\n"
            )
        );
    }
}
