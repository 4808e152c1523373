//! Messages out of bytes that arrive in pieces of any size.

use arrow_buffer::{Buffer, MutableBuffer};

use super::message::{MESSAGE_HEADER_BYTES, Message, MessageError};

/// Most bytes of a message: a frame of one row that cannot be cut, and nothing else, comes near it.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// See the module. Allocates for bytes that are there, not for a length that is announced.
#[derive(Debug, Default)]
pub struct MessageAssembler {
    /// The beginning of a message.
    buffer: Vec<u8>,
}

impl MessageAssembler {
    /// Takes bytes and returns the messages that they complete.
    ///
    /// # Errors
    /// If the bytes are not messages; the connection has to end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, MessageError> {
        self.buffer.extend_from_slice(bytes);
        let mut messages = Vec::new();
        let mut taken = 0;
        while let Some((header, _)) = self.buffer[taken..].split_first_chunk::<MESSAGE_HEADER_BYTES>() {
            let length = Message::length(header, MESSAGE_BYTES_MAX)?;
            let Some(message) = self.buffer[taken..].get(..length) else { break };
            // Into memory of its own, aligned so that the frame is read where it is.
            let mut aligned = MutableBuffer::with_capacity(length);
            aligned.extend_from_slice(message);
            messages.push(Message::decode(&Buffer::from(aligned))?);
            taken += length;
        }
        self.buffer.drain(..taken);
        Ok(messages)
    }
}
