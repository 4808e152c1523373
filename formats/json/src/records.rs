//! An array of objects as objects one after the other.
//!
//! The brackets of the array and the commas between its objects become spaces, in place, so that the lines of the file
//! stay what they are. What is inside of an object is left alone.

/// Where in a file the bytes are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    place: Place,
    /// Brackets and braces that are open.
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash in a string.
    is_escaped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing but spaces has been seen.
    #[default]
    Start,
    /// The file is not an array.
    Lines,
    /// The array is open.
    Array,
    /// The array has ended.
    Ended,
}

/// What a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A bracket of the array.
    Bracket,
    /// A comma between its objects.
    Comma,
    Other,
}

impl Records {
    /// Looks at the bytes that come next, to know what the file is.
    pub(crate) fn begin(&mut self, bytes: &[u8]) {
        if self.place == Place::Start
            && let Some(first) = bytes.iter().find(|b| !b.is_ascii_whitespace())
        {
            self.place = if *first == b'[' { Place::Array } else { Place::Lines };
        }
    }

    /// Whether the file is an array. Known after [`Self::begin`] with a byte that is no space.
    pub(crate) fn is_array(&self) -> bool {
        matches!(self.place, Place::Array | Place::Ended)
    }

    /// Whether the array has not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.place == Place::Array
    }

    fn role(&mut self, byte: u8) -> Role {
        if self.in_string {
            match byte {
                _ if std::mem::take(&mut self.is_escaped) => {}
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Role::Other;
        }
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => {
                self.depth += 1;
                if self.depth == 1 && byte == b'[' && self.place == Place::Array {
                    return Role::Bracket;
                }
            }
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 && byte == b']' && self.place == Place::Array {
                    self.place = Place::Ended;
                    return Role::Bracket;
                }
            }
            b',' if self.depth == 1 && self.place == Place::Array => return Role::Comma,
            _ => {}
        }
        Role::Other
    }

    /// Blanks what belongs to the array.
    pub(crate) fn blank(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.role(*byte) != Role::Other {
                *byte = b' ';
            }
        }
    }

    /// Goes past bytes.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let _ = self.role(*byte);
        }
    }

    /// Puts each object on a line of its own.
    pub(crate) fn lines(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let is_inside = self.depth > 0;
            match self.role(*byte) {
                Role::Bracket => *byte = b' ',
                Role::Comma => *byte = b'\n',
                Role::Other if is_inside && !self.in_string && matches!(*byte, b'\n' | b'\r') => *byte = b' ',
                Role::Other => {}
            }
        }
    }
}
