//! The lines that `import` is fed, read one by one in bounded memory. They may come from anybody: a
//! line is a record or the end, and what is wrong with it is said without repeating it, as it may
//! hold a key or move a terminal's cursor.

use std::io::{BufRead, Read};

use serde_json::error::Category;
use zeroize::Zeroizing;

use super::error::CommandError;
use crate::membership::snapshot::Record;

/// The longest line: a sealed key of full length in base64 takes a third of it.
const LINE_MAX_BYTES: u64 = 256 << 10;

/// What serde says when it then repeats what it was given.
const REPEATS: [&str; 5] =
    ["invalid type", "invalid value", "invalid length", "unknown field", "unknown variant"];

/// Records, one a line.
pub struct Lines<R> {
    from: R,
    number: u64,
    line: Zeroizing<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of a reader.
    pub fn of(from: R) -> Self {
        Self { from, number: 0, line: Zeroizing::default() }
    }

    /// The number of the line that was read last, counted from 1.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// `Input`, naming the line.
    pub fn read(&mut self) -> Result<Option<Record>, CommandError> {
        self.line.clear();
        self.number += 1;
        (&mut self.from)
            .take(LINE_MAX_BYTES + 1)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| self.wrong(&format!("cannot be read: {error}")))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.len() as u64 > LINE_MAX_BYTES {
            return Err(self.wrong("is longer than any record can be"));
        }
        match serde_json::from_slice(&self.line) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(self.wrong(&explain(&error))),
        }
    }

    fn wrong(&self, why: &str) -> CommandError {
        CommandError::Input(format!(
            "line {} {why}; give the file as `membershipd export` wrote it. Lines before it may \
             have been written: importing them again changes nothing",
            self.number
        ))
    }
}

fn explain(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match error.classify() {
        Category::Eof => "ends in the middle of a record".to_owned(),
        Category::Syntax | Category::Io => format!("is not JSON from column {} on", error.column()),
        Category::Data if REPEATS.iter().any(|begin| words.starts_with(begin)) => {
            "has a field or a value that no record has".to_owned()
        }
        Category::Data => {
            let words = words.split(" at line ").next().unwrap_or_default();
            format!("is no record: {words}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: &str =
        r#"{"kind":"member","room":"r","endpoint":"e","role":"member","addedBy":"a","addedAt":7}"#;

    /// How many records come before the end, or what is said then.
    fn read(bytes: &[u8]) -> Result<u64, String> {
        let mut lines = Lines::of(bytes);
        let mut count = 0;
        loop {
            match lines.read() {
                Ok(Some(_)) => count += 1,
                Ok(None) => return Ok(count),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[test]
    fn lines_end_with_or_without_a_line_end() {
        for (text, count) in [
            (String::new(), 0),
            (MEMBER.to_owned(), 1),
            (format!("{MEMBER}\n"), 1),
            (format!("{MEMBER}\r\n{MEMBER}"), 2),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(count), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_named_by_its_line_and_not_repeated() {
        let with = |from: &str, to: &str| MEMBER.replace(from, to).into_bytes();
        for (line, why) in [
            (b"\n".to_vec(), "ends in the middle"),
            (b"null\n".to_vec(), "no record has"),
            (b"[SECRET".to_vec(), "is not JSON"),
            (vec![0; 40], "is not JSON"),
            (b"\xef\xbb\xbf{}".to_vec(), "is not JSON"),
            (b"{\"kind\":\"\xff\"}".to_vec(), "is not JSON"),
            (MEMBER.as_bytes()[..40].to_vec(), "ends in the middle"),
            (with("}", "} SECRET"), "is not JSON"),
            (with("\"member\",\"room\"", "\"SECRET\",\"room\""), "no record has"),
            (with("\"addedAt\":7", "\"addedAt\":\"SECRET\""), "no record has"),
            (with("\"addedAt\":7", "\"addedAt\":7,\"SECRET\":1"), "no record has"),
            (with(",\"addedAt\":7", ""), "missing field `addedAt`"),
            (with("\"addedAt\":7", "\"addedAt\":7,\"addedAt\":8"), "duplicate field `addedAt`"),
            (with("\"room\":\"r\"", "\"room\":\"SECRET \""), "room has a character"),
            (with("\"room\":\"r\"", "\"room\":\"\\u001b[2J\""), "room has a character"),
            (vec![b' '; 256 * 1024 + 1], "longer than any record"),
            ("[".repeat(100_000).into_bytes(), "no record has"),
            ("{\"a\":".repeat(30_000).into_bytes(), "is not JSON"),
        ] {
            let mut bytes = format!("{MEMBER}\n").into_bytes();
            bytes.extend(&line);
            let said = read(&bytes).unwrap_err();
            let line = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            assert!(said.starts_with("line 2 ") && said.contains(why), "{line}: {said}");
            assert!(!said.contains("SECRET") && !said.contains('\u{1b}'), "{said}");
        }
    }

    #[test]
    fn the_longest_record_fits_a_line() {
        let key = data_encoding::BASE64.encode(&vec![7; 64 * 1024]);
        // An id of 128 bytes is longest when each of them is escaped.
        let id = "\\u0061".repeat(128);
        let line = format!(
            r#"{{"kind":"roomKey","room":"{id}","endpoint":"{id}","epoch":1,"sealed":"{key}"}}"#
        );
        assert_eq!(read(line.as_bytes()), Ok(1));
    }
}
