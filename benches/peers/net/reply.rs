//! The least parsing that finds the end of an answer: HTTP/1.1 by its `content-length`, RESP (what
//! Redis speaks) by the kind of each reply.
//!
//! Anything but success is a panic: an arm that refuses its work must not look fast.

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Resp,
}

impl Protocol {
    /// The length of the first whole answer in `bytes`; `None` if its end is not there yet.
    ///
    /// # Panics
    /// On a status other than 200 and on an error reply.
    pub fn reply_bytes(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Http => http_reply(bytes),
            Self::Resp => resp_reply(bytes),
        }
    }
}

fn http_reply(bytes: &[u8]) -> Option<usize> {
    let head_bytes = find(bytes, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_bytes]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{}", String::from_utf8_lossy(bytes));
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let whole = head_bytes + length.expect("the answer says its length");
    (bytes.len() >= whole).then_some(whole)
}

fn resp_reply(bytes: &[u8]) -> Option<usize> {
    let line_end = find(bytes, b"\r\n")?;
    let after_line = line_end + 2;
    let text = std::str::from_utf8(&bytes[1..line_end]).unwrap();
    match bytes[0] {
        b'+' | b':' => Some(after_line),
        b'-' => panic!("redis refuses: {text}"),
        b'$' => match text.parse::<i64>().unwrap() {
            -1 => Some(after_line),
            length => {
                let whole = after_line + usize::try_from(length).unwrap() + 2;
                (bytes.len() >= whole).then_some(whole)
            }
        },
        b'*' => (0..text.parse::<i64>().unwrap())
            .try_fold(after_line, |end, _| Some(end + resp_reply(bytes.get(end..)?)?)),
        kind => panic!("{:?} is no kind of reply that is known here", char::from(kind)),
    }
}

/// The place of `needle`; an answer is short, so that nothing cleverer is needed.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
