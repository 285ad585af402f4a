//! Wraps text at the width of a terminal, between words.

#[cfg(unix)]
use std::os::fd::AsFd as Stream;
#[cfg(windows)]
use std::os::windows::io::AsHandle as Stream;

/// The width of a terminal; `None` for another stream, whose text is not wrapped.
pub(crate) fn width_of(stream: &impl Stream) -> Option<usize> {
    terminal_size::terminal_size_of(stream).map(|(width, _)| width.0.into())
}

/// Wraps `text`, which begins at the column `start`. Further lines are indented. A
/// word that is longer than a line stays whole, so that it can be copied.
pub(crate) fn wrap(text: &str, start: usize, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len());
    let mut column = start;
    let mut is_first = true;
    for word in text.split(' ') {
        let length = word.chars().count();
        if !is_first {
            // A word that is wider than a line begins on a line of its own.
            if column + 1 + length > width && column > indent {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                out.push(' ');
                column += 1;
            }
        }
        is_first = false;
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words_and_long_words_stay_whole() {
        let text = "one two three https://example.com/long four";
        assert_eq!(wrap(text, 0, 2, None), text);
        assert_eq!(
            wrap(text, 4, 2, Some(12)),
            "one two\n  three\n  https://example.com/long\n  four"
        );
        // Two spaces are kept.
        assert_eq!(wrap("a  b", 0, 0, Some(10)), "a  b");
        assert_eq!(wrap("a  b", 0, 0, Some(3)), "a\nb");
        assert_eq!(wrap("", 0, 0, Some(10)), "");
    }
}
