//! Text that is safe to show.
use alloc::{format, string::String};
use core::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bounds::TEXT;

/// A text of one line, in printable characters, and of [`TEXT`] bytes at most: what a peer or the system says is shown to people, on
/// terminals as well. Making one escapes and shortens it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainText(String);

impl PlainText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for PlainText {
    fn from(text: &str) -> Self {
        PlainText(escaped(text))
    }
}

impl From<String> for PlainText {
    fn from(text: String) -> Self {
        PlainText::from(text.as_str())
    }
}

impl From<PlainText> for String {
    fn from(text: PlainText) -> String {
        text.0
    }
}

impl Deref for PlainText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlainText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PlainText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Travels as a string, which is escaped and shortened where it enters.
impl Serialize for PlainText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PlainText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(PlainText::from)
    }
}

/// Returns `text` on one line, in printable characters, and of [`TEXT`] bytes at most.
fn escaped(text: &str) -> String {
    let mut bounded = String::new();
    for (at, character) in text.char_indices() {
        let length = bounded.len();
        if is_plain(character) {
            bounded.push(character);
        } else {
            bounded.extend(character.escape_default());
        }
        if bounded.len() > TEXT {
            bounded.truncate(length);
            return cut(bounded, text.len() - at);
        }
    }
    bounded
}

/// Neither a control character nor one that changes the direction of the text around it.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text`, shortened so that the number of bytes that were `left_out` fits behind it.
fn cut(mut text: String, left_out: usize) -> String {
    let room = TEXT - format!(" … ({} bytes more)", usize::MAX).len();
    let mut left_out = left_out;
    while text.len() > room {
        left_out += text.pop().map_or(0, char::len_utf8);
    }
    text + &format!(" … ({left_out} bytes more)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    use crate::{
        frame::{self, Decoder},
        id::HandoffId,
        message::{Capabilities, Hello, Message, PROTO_MAX, Role},
    };

    #[test]
    fn it_is_short_and_printable() {
        let plain = |text: &str| PlainText::from(text).to_string();
        assert_eq!(plain("no room: é"), "no room: é");
        assert_eq!(plain("\u{1b}[2J\r\n\u{202e}x"), "\\u{1b}[2J\\r\\n\\u{202e}x");
        for text in ["x".repeat(1 << 21), "\u{1b}".repeat(5000), "é".repeat(TEXT)] {
            let bounded = plain(&text);
            assert!(bounded.len() <= TEXT && bounded.ends_with("bytes more)"), "{bounded}");
            assert_eq!(plain(&bounded), bounded, "once is enough");
        }
    }

    #[test]
    fn one_that_travels_as_it_is_not_is_made_so_where_it_enters() {
        let raw = PlainText("\u{7}".repeat(5000));
        let failed = Message::Failed { handoff_id: HandoffId([1; 16]), error: raw };
        let mut decoder = Decoder::default();
        decoder.push(&frame::encode(PROTO_MAX, &failed).expect("it fits a frame"));
        let received = decoder.next().expect("it is a frame").expect("it is whole");
        let Message::Failed { error, .. } = received else { panic!("another message") };
        assert!(error.starts_with("\\u{7}") && error.len() <= TEXT, "{error}");
    }

    #[test]
    fn the_name_of_a_build_is_shown_as_text_is() {
        let hello = Hello {
            role: Role::Incumbent,
            pid: 1,
            start_time: 1,
            build_id: b"v2\x1b[2J\xff".to_vec(),
            proto_min: 1,
            proto_max: 1,
            capabilities: Capabilities::default(),
        };
        assert_eq!(hello.build().as_str(), "v2\\u{1b}[2J\u{fffd}");
    }
}
