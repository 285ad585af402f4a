//! Reads the list of business ids.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use layerfi_auth::Client;

use crate::failure::Failure;

/// The longest line. Ids are much shorter; the limit is for a file that is no list.
const MAX_LINE_BYTES: u64 = 4_096;

/// Reads a list: one id per line. Each business is in the result once, in the order
/// of the list. An id that is not valid is kept as it is: its result is an error.
pub(super) fn read(path: &Path, client: &Client) -> Result<Vec<String>, Failure> {
    let canonical = |line: &str| {
        client
            .business_id(line)
            .map_or_else(|_| line.to_owned(), |id| id.as_str().to_owned())
    };
    let found = if path == Path::new("-") {
        read_lines(io::stdin().lock(), canonical)
    } else {
        File::open(path)
            .map_err(|error| error.to_string())
            .and_then(|file| read_lines(file, canonical))
    };
    found.map_err(|reason| {
        Failure::local(
            format!("cannot read the business ids from --from {path:?}: {reason}"),
            "give a text file with one business id per line, or - for standard input",
        )
    })
}

fn read_lines(from: impl Read, canonical: impl Fn(&str) -> String) -> Result<Vec<String>, String> {
    let mut from = BufReader::new(from);
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        bytes.clear();
        let mut line = (&mut from).take(MAX_LINE_BYTES);
        let length = line
            .read_until(b'\n', &mut bytes)
            .map_err(|error| error.to_string())?;
        if length == 0 {
            break;
        }
        if length as u64 == MAX_LINE_BYTES && !bytes.ends_with(b"\n") {
            return Err(format!(
                "line {number} is longer than {MAX_LINE_BYTES} bytes"
            ));
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| format!("line {number} is not UTF-8 text"))?;
        // Editors may write a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let id = canonical(text);
        if seen.insert(id.clone()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_each_id_once_and_no_comments() {
        let list = "\u{feff}# ours\r\n\r\nB\r\n  a \n#c\nb\nA\nnot valid\nlast";
        let found = read_lines(list.as_bytes(), str::to_lowercase);
        assert_eq!(found.unwrap(), ["b", "a", "not valid", "last"]);
        assert_eq!(read_lines(&b""[..], str::to_owned), Ok(vec![]));
    }

    #[test]
    fn a_file_that_is_no_list_is_refused_with_the_line() {
        let long = [&b"a\n"[..], &[b'x'; 5_000]].concat();
        for (list, reason) in [
            (&long[..], "line 2 is longer than 4096 bytes"),
            (&b"a\nb\n\xff\xfe"[..], "line 3 is not UTF-8 text"),
        ] {
            assert_eq!(read_lines(list, str::to_owned), Err(reason.to_owned()));
        }
    }
}
