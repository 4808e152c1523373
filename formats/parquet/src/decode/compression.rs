//! Codecs of pages: compressed bytes into a buffer of exactly the size that the page header claims.
//!
//! The claim was checked against what the codec can do before anything was allocated by it (`thrift::check_pages`). Output
//! of another size is damage.
//!
//! Snappy and LZ4 are the crates'. A Snappy decoder of our own with wide copies and a table of tags was measured beside
//! `snap` on columns of TPC-H and not kept: in five forms, branching on the kind of an element or not, it gave 1.3 to 1.7
//! GB/s on prices (`snap` 1.9), 1.3 to 2.4 on order keys (2.0) and 0.7 to 1.3 on comments (1.05).

use parquet::basic::Compression;

use super::Checked;

/// A codec and what it keeps between pages.
pub(crate) enum Codec {
    Stored,
    Snappy(snap::raw::Decoder),
    Lz4,
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Codec {
    /// The codec of a column chunk, if it is one of those.
    pub(crate) fn new(compression: Compression) -> Option<Self> {
        Some(match compression {
            Compression::UNCOMPRESSED => Self::Stored,
            Compression::SNAPPY => Self::Snappy(snap::raw::Decoder::new()),
            Compression::LZ4_RAW => Self::Lz4,
            Compression::ZSTD(_) => Self::Zstd(zstd::bulk::Decompressor::new().ok()?),
            _ => return None,
        })
    }

    pub(crate) fn is_stored(&self) -> bool {
        matches!(self, Self::Stored)
    }

    /// Fills `output` with what `input` holds.
    pub(crate) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Checked<()> {
        let size = output.len();
        let written = match self {
            Self::Stored if input.len() == size => {
                output.copy_from_slice(input);
                Ok(size)
            }
            Self::Stored => Ok(input.len()),
            Self::Snappy(decoder) => match snap::raw::decompress_len(input) {
                Ok(claimed) if claimed != size => Ok(claimed),
                Ok(0) => Ok(0),
                Ok(_) => decoder.decompress(input, output).map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Self::Lz4 => lz4_flex::block::decompress_into(input, output).map_err(|e| e.to_string()),
            Self::Zstd(decoder) => decoder.decompress_to_buffer(input, output).map_err(|e| e.to_string()),
        };
        match written {
            Ok(written) if written == size => Ok(()),
            Ok(written) => Err(format!("a page of {written} bytes whose header says {size}")),
            Err(problem) => Err(format!("a page cannot be decompressed: {problem}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_exactly_what_was_claimed() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i / 7) as u8).collect();
        let packed = [
            (Compression::UNCOMPRESSED, bytes.clone()),
            (Compression::SNAPPY, snap::raw::Encoder::new().compress_vec(&bytes).unwrap()),
            (Compression::LZ4_RAW, lz4_flex::block::compress(&bytes)),
            (Compression::ZSTD(Default::default()), zstd::bulk::compress(&bytes, 1).unwrap()),
        ];
        for (compression, packed) in packed {
            let mut codec = Codec::new(compression).unwrap();
            let mut output = vec![0; bytes.len()];
            codec.decompress(&packed, &mut output).unwrap();
            assert_eq!(output, bytes);
            for size in [0, 999, 1001] {
                assert!(codec.decompress(&packed, &mut vec![0; size]).is_err(), "{compression:?} {size}");
            }
            assert!(codec.decompress(&packed[..packed.len() / 2], &mut output).is_err(), "{compression:?}");
            assert!(codec.decompress(&[], &mut output).is_err(), "{compression:?}");
        }
        assert!(Codec::new(Compression::LZO).is_none());
    }
}
