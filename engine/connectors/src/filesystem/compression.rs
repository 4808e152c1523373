//! Files that are compressed as a whole: `x.csv.gz`.
//!
//! A [`ByteStream`] gives the content of a file in pieces, compressed or not. What it holds does not follow from what the
//! file says: pieces have a fixed size, and a file whose codec asks for a larger window than [`WINDOW_BYTES_MAX`] is
//! refused. Several compressed files one after the other are one content, as their tools have it.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flumen_io::ReadFile;
use serde::{Deserialize, Serialize};

use crate::error::{ConnectorError, Result};

/// Compressed bytes read at once.
const READ_BYTES: u64 = 256 << 10;
/// Largest window of a codec: 27 bits is what `zstd --ultra` and `--long` use, and more than `xz -9` does.
const WINDOW_BYTES_MAX: u32 = 1 << 27;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Codec {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Codec {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "gzip" | "gz" => Self::Gzip,
            "zstd" | "zst" => Self::Zstd,
            "bzip2" | "bz2" => Self::Bzip2,
            "xz" => Self::Xz,
            _ => return None,
        })
    }

    /// What the end of a file's name says.
    pub(crate) fn by_suffix(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            suffix @ ("gz" | "zst" | "bz2" | "xz") => Self::by_name(suffix),
            _ => None,
        }
    }

    /// What the first bytes of a file say.
    pub(crate) fn by_magic(bytes: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Codec); 4] = [
            (b"\x1f\x8b", Codec::Gzip),
            (b"\x28\xb5\x2f\xfd", Codec::Zstd),
            (b"BZh", Codec::Bzip2),
            (b"\xfd7zXZ\0", Codec::Xz),
        ];
        MAGIC.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, codec)| codec)
    }

    /// What names of files end in.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Bzip2 => "bz2",
            Self::Xz => "xz",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// The content of a file from front to back. May block.
pub(super) struct ByteStream {
    source: Arc<dyn ReadFile>,
    content: Content,
}

enum Content {
    /// Where the next byte is.
    Plain(u64),
    Compressed(Codec, Box<dyn Read + Send>),
}

impl ByteStream {
    pub(super) fn new(source: Arc<dyn ReadFile>, codec: Option<Codec>) -> Result<Self> {
        let content = match codec {
            None => Content::Plain(0),
            Some(codec) => {
                let file =
                    io::BufReader::with_capacity(READ_BYTES as usize, FileRead { file: Arc::clone(&source), at: 0 });
                let reader: Box<dyn Read + Send> = match codec {
                    Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
                    Codec::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
                    Codec::Xz => {
                        // A little beyond the window for the decoder's own tables.
                        Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, WINDOW_BYTES_MAX / 1024 + 1024))
                    }
                    Codec::Zstd => {
                        let damaged = |error: io::Error| damaged(source.path(), codec, &error);
                        let mut decoder = zstd::Decoder::with_buffer(file).map_err(damaged)?;
                        decoder.window_log_max(WINDOW_BYTES_MAX.ilog2()).map_err(damaged)?;
                        Box::new(decoder)
                    }
                };
                Content::Compressed(codec, reader)
            }
        };
        Ok(Self { source, content })
    }

    pub(super) fn source(&self) -> &Arc<dyn ReadFile> {
        &self.source
    }

    /// The next bytes: `size`, or fewer at the end, and then none.
    pub(super) fn piece(&mut self, size: usize) -> Result<Bytes> {
        match &mut self.content {
            Content::Plain(at) => {
                let end = self.source.size().min(at.saturating_add(size as u64));
                let bytes = self.source.read_range((*at).min(end)..end)?;
                *at = end;
                Ok(bytes)
            }
            Content::Compressed(codec, reader) => {
                let mut bytes = Vec::with_capacity(size);
                reader
                    .take(size as u64)
                    .read_to_end(&mut bytes)
                    .map_err(|error| damaged(self.source.path(), *codec, &error))?;
                Ok(bytes.into())
            }
        }
    }
}

fn damaged(path: &Path, codec: Codec, error: &io::Error) -> ConnectorError {
    ConnectorError::Compressed { path: path.display().to_string(), codec: codec.name(), problem: error.to_string() }
}

/// A file as the standard library reads one.
struct FileRead {
    file: Arc<dyn ReadFile>,
    at: u64,
}

impl Read for FileRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.at, buffer).map_err(io::Error::other)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Compresses what is written to a file.
pub(super) enum Compressor {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    /// `None` for codecs that are only read.
    pub(super) fn new(codec: Codec, level: Option<i32>) -> Option<io::Result<Self>> {
        match codec {
            Codec::Gzip => {
                let level = level.and_then(|l| u32::try_from(l).ok()).unwrap_or(6);
                Some(Ok(Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level)))))
            }
            Codec::Zstd => Some(zstd::Encoder::new(Vec::new(), level.unwrap_or(3)).map(Self::Zstd)),
            Codec::Bzip2 | Codec::Xz => None,
        }
    }

    /// Takes bytes and appends what has come of them to `out`.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        use io::Write;
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                out.append(encoder.get_mut());
            }
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                out.append(encoder.get_mut());
            }
        }
        Ok(())
    }

    /// Appends the rest.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        out.append(&mut match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        });
        Ok(())
    }
}
