//! The words of a CREATE statement, outside of names, texts and comments in it.

/// The bare words and the parentheses of a statement, in upper case.
pub(super) fn bare_words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' | '"' | '`' => quoted(rest, first),
            '[' => quoted(rest, ']'),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                words.push(rest[..end].to_uppercase());
                end
            }
            '(' | ')' => {
                words.push(first.to_string());
                1
            }
            other => other.len_utf8(),
        };
        rest = &rest[taken..];
    }
    words
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of a quoted piece; a doubled quote is two pieces, which comes to the same.
fn quoted(text: &str, end: char) -> usize {
    let opening = text.chars().next().map_or(0, char::len_utf8);
    text[opening..].find(end).map_or(text.len(), |found| opening + found + end.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_texts_and_comments_are_no_words() {
        let sql = "create TABLE \"check\" (a TEXT DEFAULT 'collate ''as''', [generated] INT -- check\n, `as` /* as */)";
        let words = bare_words(sql);
        let expected = ["CREATE", "TABLE", "(", "A", "TEXT", "DEFAULT", "INT", ")"];
        assert_eq!(words, expected);
        for broken in ["'", "\"a", "[", "--", "/*", "é'", "/"] {
            bare_words(broken);
        }
    }
}
