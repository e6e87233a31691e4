//! Server-sent events (WHATWG HTML, "9.2.6 Interpreting an event stream"), as a pure state machine.
//!
//! Bytes come in pieces that are cut anywhere; whole events go out. What a cut connection left
//! unfinished is dropped with the machine, as the standard says: an event counts from its empty
//! line on. `retry:` is not obeyed; the client has a back-off of its own.

/// Largest event, in bytes of its lines. An entry of the feed is under 200 KiB, however it is
/// escaped.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// A whole event. One without data tells only its id, which moves the place to resume from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// `None`: the event gave none, or one that the standard ignores.
    pub id: Option<String>,
    /// Empty: an ordinary message.
    pub name: String,
    /// The data lines, joined by line feeds.
    pub data: String,
}

/// The stream broke the bound [`EVENT_BYTES_MAX`]; nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLarge;

/// Reads one stream.
///
/// ```text
/// bytes -> line (ended by LF, CR or CRLF) -> field of the event -> event (ended by an empty line)
/// ```
#[derive(Debug, Default)]
pub(super) struct EventReader {
    line: Vec<u8>,
    /// The last line ended in CR: an LF that follows at once belongs to that end.
    is_after_cr: bool,
    /// The first line is done: a byte order mark is one no more.
    is_begun: bool,
    event: Event,
    has_data: bool,
    /// Bytes of the lines of this event.
    event_bytes: usize,
}

impl EventReader {
    /// Takes the next piece and appends the events that it completes.
    ///
    /// # Errors
    /// [`TooLarge`]: give the stream up.
    pub fn push(&mut self, piece: &[u8], events: &mut impl Extend<Event>) -> Result<(), TooLarge> {
        for &byte in piece {
            let is_second_of_crlf = std::mem::take(&mut self.is_after_cr) && byte == b'\n';
            if is_second_of_crlf {
                continue;
            }
            if byte == b'\n' || byte == b'\r' {
                self.is_after_cr = byte == b'\r';
                events.extend(self.end_line());
            } else {
                self.line.push(byte);
                self.event_bytes += 1;
                if self.event_bytes > EVENT_BYTES_MAX {
                    return Err(TooLarge);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let text = if is_first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if text.is_empty() {
            return self.end_event();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            // A comment has an empty name; an unknown field is for a later version.
            _ => {
                if self.event == Event::default() && !self.has_data {
                    // A stream of comments alone never ends an event.
                    self.event_bytes = 0;
                }
            }
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        self.event_bytes = 0;
        let has_data = std::mem::take(&mut self.has_data);
        let event = std::mem::take(&mut self.event);
        (has_data || event.id.is_some()).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        for piece in pieces {
            reader.push(piece, &mut events).unwrap();
        }
        events
    }

    fn event(id: Option<&str>, name: &str, data: &str) -> Event {
        Event { id: id.map(str::to_owned), name: name.to_owned(), data: data.to_owned() }
    }

    const STREAM: &str = "\u{feff}: hello\r\n\r\nid: 7\r\ndata: {\"a\":\r\ndata:1}\r\n\r\n\
        : heartbeat\n\nid: 9\n\nevent: gone\rdata: \u{e9}\r\rretry: 5\nx\ndata\n\n\
        id: 10\ndata: cut";

    fn events_of_stream() -> Vec<Event> {
        vec![
            event(Some("7"), "", "{\"a\":\n1}"),
            event(Some("9"), "", ""),
            event(None, "gone", "\u{e9}"),
            event(None, "", ""),
        ]
    }

    #[test]
    fn every_line_end_comment_and_field_is_read_and_an_unfinished_event_is_not() {
        assert_eq!(read(&[STREAM.as_bytes()]), events_of_stream());
    }

    proptest! {
        #[test]
        fn pieces_may_be_cut_anywhere(mut cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            cuts.sort_unstable();
            let bytes = STREAM.as_bytes();
            let mut pieces = Vec::new();
            let mut begin = 0;
            for cut in cuts {
                pieces.push(&bytes[begin..cut]);
                begin = cut;
            }
            pieces.push(&bytes[begin..]);
            prop_assert_eq!(read(&pieces), events_of_stream());
        }
    }

    #[test]
    fn an_event_has_a_bound_and_comments_between_events_have_none() {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        let comment = format!(": {}\n", "x".repeat(EVENT_BYTES_MAX / 2));
        for _ in 0..5 {
            reader.push(comment.as_bytes(), &mut events).unwrap();
        }
        let data = format!("data: {}\n", "x".repeat(EVENT_BYTES_MAX / 2));
        reader.push(data.as_bytes(), &mut events).unwrap();
        assert_eq!(reader.push(data.as_bytes(), &mut events), Err(TooLarge));
        let mut endless = EventReader::default();
        assert_eq!(endless.push(&vec![b'x'; EVENT_BYTES_MAX + 1], &mut events), Err(TooLarge));
        assert_eq!(events, []);
    }
}
