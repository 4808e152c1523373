//! Logical types and schemas, and the Arrow types that carry them.
//!
//! A logical type says what values mean; an array's Arrow type says how they lie in memory, and may differ from batch
//! to batch: a string column may arrive as `Utf8View`, `Utf8` or dictionary codes. [`LogicalType::arrow_type`] is the
//! canonical carrier, which operators produce unless they have a reason; [`LogicalType::portable_arrow_type`] is what
//! leaves the engine (files, clients). The two differ for decimals of up to 18 digits, which are 64-bit integers
//! inside (half the bytes, a sixth of the multiply), and for strings, which are views.

use std::sync::Arc;

use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// Most digits that a decimal carried by an `i64` may have.
pub const DECIMAL64_PRECISION_MAX: u8 = 18;
/// Most digits of any decimal.
pub const DECIMAL_PRECISION_MAX: u8 = 38;
/// What the items of a list are called, whatever Arrow's field in a file is called: types with the same items are equal.
pub const LIST_ITEM: &str = "item";
/// What the keys of a map are called.
pub const MAP_KEY: &str = "key";
/// What the values of a map are called.
pub const MAP_VALUE: &str = "value";

/// Resolution of a time type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Resolution {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

impl Resolution {
    /// Arrow's name for it.
    #[must_use]
    pub fn arrow_unit(self) -> TimeUnit {
        match self {
            Self::Second => TimeUnit::Second,
            Self::Millisecond => TimeUnit::Millisecond,
            Self::Microsecond => TimeUnit::Microsecond,
            Self::Nanosecond => TimeUnit::Nanosecond,
        }
    }

    /// From Arrow's.
    #[must_use]
    pub fn from_arrow(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::Second => Self::Second,
            TimeUnit::Millisecond => Self::Millisecond,
            TimeUnit::Microsecond => Self::Microsecond,
            TimeUnit::Nanosecond => Self::Nanosecond,
        }
    }

    /// Ticks in a second.
    #[must_use]
    pub fn ticks_per_second(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Millisecond => 1_000,
            Self::Microsecond => 1_000_000,
            Self::Nanosecond => 1_000_000_000,
        }
    }

    /// Floors a number of ticks to milliseconds.
    #[inline]
    #[must_use]
    pub fn to_millis_floor(self, ticks: i64) -> i64 {
        match self {
            Self::Second => ticks.saturating_mul(1_000),
            Self::Millisecond => ticks,
            Self::Microsecond => ticks.div_euclid(1_000),
            Self::Nanosecond => ticks.div_euclid(1_000_000),
        }
    }
}

/// What the values of a column mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LogicalType {
    /// Only NULL.
    Null,
    /// True or false.
    Boolean,
    /// 8-bit integer (TINYINT).
    Int8,
    /// 16-bit integer (SMALLINT).
    Int16,
    /// 32-bit integer (INTEGER).
    Int32,
    /// 64-bit integer (BIGINT).
    Int64,
    /// Unsigned 8-bit integer.
    UInt8,
    /// Unsigned 16-bit integer.
    UInt16,
    /// Unsigned 32-bit integer.
    UInt32,
    /// Unsigned 64-bit integer.
    UInt64,
    /// 32-bit IEEE 754 (REAL).
    Float32,
    /// 64-bit IEEE 754 (DOUBLE).
    Float64,
    /// `unscaled * 10^-scale` with at most `precision` digits.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// UTF-8 text.
    Utf8,
    /// Bytes.
    Binary,
    /// Days since 1970-01-01.
    Date,
    /// Time of day.
    Time(Resolution),
    /// A moment, or a wall-clock reading if it has no zone.
    Timestamp {
        /// Ticks.
        resolution: Resolution,
        /// The zone it is shown in; with a zone the value is UTC.
        zone: Option<Arc<str>>,
    },
    /// Months, days and nanoseconds.
    Interval,
    /// An exact span of time.
    Duration(Resolution),
    /// Values of one type. The field is called [`LIST_ITEM`]; an item may be NULL.
    List(Arc<Field>),
    /// Named values, each of which may be NULL.
    Struct(Arc<[Field]>),
    /// Keys to values, called [`MAP_KEY`] and [`MAP_VALUE`]; a value may be NULL.
    Map {
        /// Type of the keys; never null.
        key: Arc<Field>,
        /// Type of the values.
        value: Arc<Field>,
    },
}

impl LogicalType {
    /// The Arrow type that operators produce.
    #[must_use]
    pub fn arrow_type(&self) -> DataType {
        match self {
            Self::Decimal { precision, scale } if *precision <= DECIMAL64_PRECISION_MAX => {
                DataType::Decimal64(*precision, *scale)
            }
            Self::Utf8 => DataType::Utf8View,
            Self::Binary => DataType::BinaryView,
            other => other.common_arrow_type(LogicalType::arrow_type),
        }
    }

    /// The Arrow type that leaves the engine: no views, no dictionaries, no small decimals.
    #[must_use]
    pub fn portable_arrow_type(&self) -> DataType {
        match self {
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
            other => other.common_arrow_type(LogicalType::portable_arrow_type),
        }
    }

    fn common_arrow_type(&self, nested: fn(&LogicalType) -> DataType) -> DataType {
        let field = |f: &Field| Arc::new(arrow_schema::Field::new(f.name.as_str(), nested(&f.data_type), f.nullable));
        match self {
            Self::Null => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::UInt16 => DataType::UInt16,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time(Resolution::Second) => DataType::Time32(TimeUnit::Second),
            Self::Time(Resolution::Millisecond) => DataType::Time32(TimeUnit::Millisecond),
            Self::Time(resolution) => DataType::Time64(resolution.arrow_unit()),
            Self::Timestamp { resolution, zone } => DataType::Timestamp(resolution.arrow_unit(), zone.clone()),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Duration(resolution) => DataType::Duration(resolution.arrow_unit()),
            Self::List(item) => DataType::List(field(item)),
            Self::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
            Self::Map { key, value } => {
                let entries = DataType::Struct([key, value].into_iter().map(|f| field(f)).collect());
                DataType::Map(Arc::new(arrow_schema::Field::new("entries", entries, false)), false)
            }
        }
    }

    /// A list of these items.
    #[must_use]
    pub fn list_of(item: LogicalType) -> Self {
        Self::List(Arc::new(Field::new(LIST_ITEM, item, true)))
    }

    /// A map of these keys and values.
    #[must_use]
    pub fn map_of(key: LogicalType, value: LogicalType) -> Self {
        Self::Map {
            key: Arc::new(Field::new(MAP_KEY, key, false)),
            value: Arc::new(Field::new(MAP_VALUE, value, true)),
        }
    }

    /// Whether values have parts: a list, a struct or a map.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        matches!(self, Self::List(_) | Self::Struct(_) | Self::Map { .. })
    }

    /// The logical type that an Arrow type carries; `None` for those the engine does not take. What Arrow calls the items
    /// of a list and whether it allows NULL among them is not part of it.
    #[must_use]
    pub fn from_arrow(arrow: &DataType) -> Option<Self> {
        let part = |f: &arrow_schema::Field| {
            Some(Field { name: f.name().clone(), data_type: Self::from_arrow(f.data_type())?, nullable: true })
        };
        Some(match arrow {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => Self::Decimal { precision: *precision, scale: *scale },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Utf8,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Binary
            }
            DataType::Date32 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time(Resolution::from_arrow(*unit)),
            DataType::Timestamp(unit, zone) => {
                Self::Timestamp { resolution: Resolution::from_arrow(*unit), zone: zone.clone() }
            }
            DataType::Interval(_) => Self::Interval,
            DataType::Duration(unit) => Self::Duration(Resolution::from_arrow(*unit)),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::list_of(Self::from_arrow(item.data_type())?)
            }
            DataType::Struct(fields) => Self::Struct(fields.iter().map(|f| part(f)).collect::<Option<_>>()?),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => {
                    Self::map_of(Self::from_arrow(fields[0].data_type())?, Self::from_arrow(fields[1].data_type())?)
                }
                _ => return None,
            },
            DataType::Dictionary(_, value) => Self::from_arrow(value)?,
            DataType::RunEndEncoded(_, values) => Self::from_arrow(values.data_type())?,
            _ => return None,
        })
    }

    /// Whether it is an integer.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::Int8
                | Self::Int16
                | Self::Int32
                | Self::Int64
                | Self::UInt8
                | Self::UInt16
                | Self::UInt32
                | Self::UInt64
        )
    }

    /// Whether it is a binary floating-point number.
    #[must_use]
    pub fn is_float(&self) -> bool {
        matches!(self, Self::Float32 | Self::Float64)
    }

    /// Bytes of one value in the canonical carrier; `None` for nested types. Views count their 16 bytes.
    #[must_use]
    pub fn fixed_width(&self) -> Option<usize> {
        Some(match self {
            Self::Null => 0,
            Self::Boolean | Self::Int8 | Self::UInt8 => 1,
            Self::Int16 | Self::UInt16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 | Self::Date => 4,
            Self::Time(Resolution::Second | Resolution::Millisecond) => 4,
            Self::Int64 | Self::UInt64 | Self::Float64 | Self::Time(_) | Self::Timestamp { .. } | Self::Duration(_) => {
                8
            }
            Self::Decimal { precision, .. } if *precision <= DECIMAL64_PRECISION_MAX => 8,
            Self::Decimal { .. } | Self::Interval | Self::Utf8 | Self::Binary => 16,
            Self::List(_) | Self::Struct(_) | Self::Map { .. } => return None,
        })
    }
}

impl std::fmt::Display for LogicalType {
    /// The SQL name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = |r: &Resolution| match r {
            Resolution::Second => 0,
            Resolution::Millisecond => 3,
            Resolution::Microsecond => 6,
            Resolution::Nanosecond => 9,
        };
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Int8 => f.write_str("TINYINT"),
            Self::Int16 => f.write_str("SMALLINT"),
            Self::Int32 => f.write_str("INTEGER"),
            Self::Int64 => f.write_str("BIGINT"),
            Self::UInt8 => f.write_str("TINYINT UNSIGNED"),
            Self::UInt16 => f.write_str("SMALLINT UNSIGNED"),
            Self::UInt32 => f.write_str("INTEGER UNSIGNED"),
            Self::UInt64 => f.write_str("BIGINT UNSIGNED"),
            Self::Float32 => f.write_str("REAL"),
            Self::Float64 => f.write_str("DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Utf8 => f.write_str("VARCHAR"),
            Self::Binary => f.write_str("VARBINARY"),
            Self::Date => f.write_str("DATE"),
            Self::Time(r) => write!(f, "TIME({})", digits(r)),
            Self::Timestamp { resolution, zone: None } => write!(f, "TIMESTAMP({})", digits(resolution)),
            Self::Timestamp { resolution, zone: Some(_) } => write!(f, "TIMESTAMP_LTZ({})", digits(resolution)),
            Self::Interval => f.write_str("INTERVAL"),
            Self::Duration(r) => write!(f, "DURATION({})", digits(r)),
            Self::List(item) => write!(f, "ARRAY<{}>", item.data_type),
            Self::Struct(fields) => {
                f.write_str("ROW<")?;
                for (i, field) in fields.iter().enumerate() {
                    write!(f, "{}{} {}", if i == 0 { "" } else { ", " }, field.name, field.data_type)?;
                }
                f.write_str(">")
            }
            Self::Map { key, value } => write!(f, "MAP<{}, {}>", key.data_type, value.data_type),
        }
    }
}

/// A named column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    /// Its name, with its case.
    pub name: String,
    /// What its values mean.
    pub data_type: LogicalType,
    /// Whether a value may be NULL.
    pub nullable: bool,
}

impl Field {
    /// A field.
    pub fn new(name: impl Into<String>, data_type: LogicalType, nullable: bool) -> Self {
        Self { name: name.into(), data_type, nullable }
    }
}

/// The columns of a stream, and which one is event time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schema {
    /// Columns in order.
    pub fields: Vec<Field>,
    /// Index of the column that carries event time; a `Timestamp` column.
    pub event_time: Option<usize>,
}

/// A shared schema.
pub type SchemaRef = Arc<Schema>;

impl Schema {
    /// A schema without event time.
    #[must_use]
    pub fn new(fields: Vec<Field>) -> Self {
        Self { fields, event_time: None }
    }

    /// Index of the column with this exact name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }

    /// The schema that operators produce.
    #[must_use]
    pub fn arrow_schema(&self) -> arrow_schema::SchemaRef {
        self.arrow_schema_with(LogicalType::arrow_type)
    }

    /// The schema that leaves the engine.
    #[must_use]
    pub fn portable_arrow_schema(&self) -> arrow_schema::SchemaRef {
        self.arrow_schema_with(LogicalType::portable_arrow_type)
    }

    fn arrow_schema_with(&self, carrier: fn(&LogicalType) -> DataType) -> arrow_schema::SchemaRef {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|f| arrow_schema::Field::new(f.name.as_str(), carrier(&f.data_type), f.nullable))
            .collect();
        Arc::new(arrow_schema::Schema::new(fields))
    }

    /// The logical schema of an Arrow schema; `Err` holds the first field whose type the engine does not take.
    pub fn from_arrow(schema: &arrow_schema::Schema) -> Result<Self, arrow_schema::FieldRef> {
        let fields = schema
            .fields()
            .iter()
            .map(|f| match LogicalType::from_arrow(f.data_type()) {
                Some(data_type) => Ok(Field::new(f.name().as_str(), data_type, f.is_nullable())),
                None => Err(Arc::clone(f)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::new(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_lead_back_to_the_logical_type() {
        let named = |name: &str| Arc::new(Field::new(name, LogicalType::Decimal { precision: 9, scale: 2 }, true));
        let inner = named("item");
        let types = [
            LogicalType::Null,
            LogicalType::Boolean,
            LogicalType::UInt16,
            LogicalType::Float32,
            LogicalType::Decimal { precision: 18, scale: 2 },
            LogicalType::Decimal { precision: 19, scale: 2 },
            LogicalType::Utf8,
            LogicalType::Binary,
            LogicalType::Date,
            LogicalType::Time(Resolution::Second),
            LogicalType::Time(Resolution::Nanosecond),
            LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: Some("UTC".into()) },
            LogicalType::Interval,
            LogicalType::List(Arc::clone(&inner)),
            LogicalType::Struct(Arc::from([(*inner).clone()])),
            LogicalType::Map { key: Arc::new(Field::new("key", LogicalType::Utf8, false)), value: named("value") },
        ];
        for data_type in types {
            assert_eq!(LogicalType::from_arrow(&data_type.arrow_type()).as_ref(), Some(&data_type));
            assert_eq!(LogicalType::from_arrow(&data_type.portable_arrow_type()).as_ref(), Some(&data_type));
        }
        let codes = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
        assert_eq!(LogicalType::from_arrow(&codes), Some(LogicalType::Utf8));
    }

    #[test]
    fn small_decimals_are_64_bits_inside_only() {
        let decimal = LogicalType::Decimal { precision: 15, scale: 2 };
        assert_eq!(decimal.arrow_type(), DataType::Decimal64(15, 2));
        assert_eq!(decimal.portable_arrow_type(), DataType::Decimal128(15, 2));
    }

    #[test]
    fn ticks_floor_to_milliseconds() {
        assert_eq!(Resolution::Microsecond.to_millis_floor(-1), -1);
        assert_eq!(Resolution::Microsecond.to_millis_floor(1_999), 1);
        assert_eq!(Resolution::Nanosecond.to_millis_floor(-1_000_000), -1);
    }
}
