//! Our own decoders of column chunks: what the scan spends its time in.
//!
//! A column is decoded here if it is a flat one, required or optional, of a type, codec and encodings that are listed in
//! [`leaf`]; that is known before a byte of it is decoded, since the headers of all its pages were read when it was
//! fetched. Whatever else a file holds (lists, structs, INT96, delta encodings, GZIP and Brotli) is decoded by the
//! `parquet` crate, column by column beside ours.
//!
//! Cost model, CPU per value of a required column, for a core of 3.5 GHz (bytes: in compressed, out of the decompressor,
//! into the batch):
//!
//! | column | bytes | steps | ns | measured | the crate |
//! |---|---|---|---|---|---|
//! | 4 bytes, coded in 12 bits, stored | 1.5, 1.5, 4 | unpack 0.06 to 0.12, look up 0.3 | 0.4 | 0.47-0.54 | 0.72-0.97 |
//! | the same, Snappy | 1.5, 1.5, 4 | copy 0.1 more | 0.5 | 0.69-0.79 | 0.63-0.94 |
//! | 8 bytes, PLAIN, Snappy | 5, 8, 8 | decompress at 2 GB/s 4, copy 0.2 | 4.2 | 5.2-5.3 | 5.3-5.8 |
//! | 8 bytes, PLAIN, stored | 8, 8, 8 | copy 0.2 | 0.2 | 0.24 | 0.40 |
//! | decimals in 8 bytes, PLAIN, Snappy | 5, 8, 8 | as integers | 4.2 | 5.9 | 6.9 |
//! | 8 bytes, a tenth NULL, coded in 12 bits, Snappy | 1.5, 1.5, 8 | levels 0.5, gaps 1 more | 2.0 | 3.4-4.2 | 3.1-3.3 |
//! | strings, coded in 3 bits, as codes, Snappy | 0.4, 0.4, 4 | unpack 0.1, check 0.05 | 0.2 | 0.72 | 4.1 |
//! | strings of 28 bytes, PLAIN, stored | 32, 32, 16 | check 1, views 1.5 | 2.5 | 2.7-3.4 | 7.0-8.9 |
//! | strings of 28 bytes, PLAIN, Snappy | 19, 32, 16 | decompress 15 more | 18 | 28-34 | 31-38 |
//! | condition on 6-bit codes, one in fifty wanted, and the first row's column there | 2.2, 2.2, 0.1 | | 0.7 | 0.88 | |
//!
//! What is measured is `benches/micro` (`parquet_decode`) on a shared machine (ranges of its runs), set-up included; text
//! compresses with Snappy to short elements, which its decoder takes at 1 GB/s, not 2.
//!
//! | module | holds |
//! |---|---|
//! | [`page`] | pages: checksums, decompression, where levels and values lie |
//! | [`spare`] | buffers of pages, used again |
//! | [`compression`] | the codecs |
//! | [`bits`] | bit-packed integers, in three instruction sets |
//! | [`hybrid`] | runs of levels and codes |
//! | [`values`] | what decoders of values share |
//! | [`fixed`], [`native`] | values of fixed width |
//! | [`strings`] | byte strings |
//! | [`mod@leaf`] | a column: levels, values, filters, wanted rows |

mod bits;
mod compression;
mod fixed;
mod hybrid;
mod leaf;
mod native;
mod page;
mod spare;
mod strings;
mod values;

use arrow_schema::DataType;
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::ColumnChunkMetaData;

use crate::fetch::ColumnChunk;
use crate::thrift::{PAGE_DATA, PAGE_DATA_V2, PAGE_DICTIONARY, PageHeader};
use compression::Codec;
use fixed::Fixed;
pub(crate) use leaf::Leaf;
use leaf::PagedLeaf;
use native::{BigEndian, Double, Float, Int32, Int64, Native, Stored};
use page::Pages;
pub(crate) use page::encoding;
use strings::Strings;
use values::Values;

/// What went wrong, as the end of a sentence that names file, row group and column.
pub(crate) type Checked<T> = Result<T, String>;

/// Widest decimal in FIXED_LEN_BYTE_ARRAY that is decoded here.
const DECIMAL_BYTES_MAX: usize = 16;

/// A decoder of a column chunk into arrays of a type (text may come out as a dictionary of up to `codes_max` values);
/// `None` if it is not one that we decode.
pub(crate) fn leaf(
    metadata: &ColumnChunkMetaData,
    chunk: &ColumnChunk,
    data_type: &DataType,
    codes_max: usize,
) -> Option<Box<dyn Leaf>> {
    let column = metadata.column_descr();
    let is_optional = match column.max_def_level() {
        0 => false,
        1 => true,
        _ => return None,
    };
    let is_flat = column.max_rep_level() == 0 && column.path().parts().len() == 1;
    let physical = column.physical_type();
    if !is_flat || !has_known_pages(&chunk.pages, physical, is_optional, chunk.values) {
        return None;
    }
    let codec = Codec::new(metadata.compression())?;
    let pages = Pages::new(chunk.bytes.clone(), chunk.pages.clone(), codec, is_optional);
    let width = usize::try_from(column.type_length()).unwrap_or(0);
    match (physical, data_type) {
        (PhysicalType::BOOLEAN, DataType::Boolean) => Some(paged(pages, Fixed::booleans(Int32)?, is_optional)),
        (PhysicalType::INT32, data_type) => match data_type {
            DataType::Int8 => fixed::<i8, _>(pages, data_type, Int32, is_optional),
            DataType::Int16 => fixed::<i16, _>(pages, data_type, Int32, is_optional),
            DataType::UInt8 => fixed::<u8, _>(pages, data_type, Int32, is_optional),
            DataType::UInt16 => fixed::<u16, _>(pages, data_type, Int32, is_optional),
            DataType::UInt32 => fixed::<u32, _>(pages, data_type, Int32, is_optional),
            DataType::Decimal64(..) => fixed::<i64, _>(pages, data_type, Int32, is_optional),
            DataType::Decimal128(..) => fixed::<i128, _>(pages, data_type, Int32, is_optional),
            _ => fixed::<i32, _>(pages, data_type, Int32, is_optional),
        },
        (PhysicalType::INT64, DataType::UInt64) => fixed::<u64, _>(pages, data_type, Int64, is_optional),
        (PhysicalType::INT64, DataType::Decimal128(..)) => fixed::<i128, _>(pages, data_type, Int64, is_optional),
        (PhysicalType::INT64, _) => fixed::<i64, _>(pages, data_type, Int64, is_optional),
        (PhysicalType::FLOAT, _) => fixed::<f32, _>(pages, data_type, Float, is_optional),
        (PhysicalType::DOUBLE, _) => fixed::<f64, _>(pages, data_type, Double, is_optional),
        (PhysicalType::FIXED_LEN_BYTE_ARRAY, DataType::Decimal64(..)) if (1..=8).contains(&width) => {
            fixed::<i64, _>(pages, data_type, BigEndian(width), is_optional)
        }
        (PhysicalType::FIXED_LEN_BYTE_ARRAY, DataType::Decimal128(..)) if (1..=DECIMAL_BYTES_MAX).contains(&width) => {
            fixed::<i128, _>(pages, data_type, BigEndian(width), is_optional)
        }
        (PhysicalType::BYTE_ARRAY, DataType::Utf8View) => {
            Some(paged(pages, Strings::new(true, codes_max), is_optional))
        }
        (PhysicalType::BYTE_ARRAY, DataType::BinaryView) => {
            Some(paged(pages, Strings::new(false, codes_max), is_optional))
        }
        _ => None,
    }
}

fn paged(pages: Pages, values: impl Values + 'static, is_optional: bool) -> Box<dyn Leaf> {
    Box::new(PagedLeaf::new(pages, values, is_optional))
}

fn fixed<N: Native, S: Stored<N>>(
    pages: Pages,
    data_type: &DataType,
    stored: S,
    is_optional: bool,
) -> Option<Box<dyn Leaf>> {
    Some(paged(pages, Fixed::<N, S>::new(data_type, stored)?, is_optional))
}

/// Whether all pages are of kinds and encodings that we decode, and together have the chunk's values.
fn has_known_pages(pages: &[PageHeader], physical: PhysicalType, is_optional: bool, values: i64) -> bool {
    let mut found = 0i64;
    let mut has_dictionary = false;
    for (index, page) in pages.iter().enumerate() {
        let is_known = match page.kind {
            PAGE_DICTIONARY => {
                has_dictionary = true;
                index == 0 && matches!(page.encoding, encoding::PLAIN | encoding::PLAIN_DICTIONARY)
            }
            PAGE_DATA | PAGE_DATA_V2 => {
                found = found.saturating_add(page.values);
                let known_levels = !is_optional || page.kind == PAGE_DATA_V2 || page.level_encoding == encoding::RLE;
                let known_values = match page.encoding {
                    encoding::PLAIN => true,
                    encoding::RLE => physical == PhysicalType::BOOLEAN,
                    encoding::PLAIN_DICTIONARY | encoding::RLE_DICTIONARY => {
                        has_dictionary && physical != PhysicalType::BOOLEAN
                    }
                    _ => false,
                };
                known_levels && known_values
            }
            // Index pages hold no values.
            _ => page.kind == 1,
        };
        if !is_known {
            return false;
        }
    }
    found == values && values > 0
}
