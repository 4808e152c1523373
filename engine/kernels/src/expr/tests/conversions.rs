//! CAST and TRY_CAST.

use super::*;

const N: &str = "NULL";

#[test]
fn numbers_into_numbers() {
    let i64s = ints([Some(1), Some(-300), None]);
    check(&cast(col(0), LogicalType::Float64, false), &[i64s.clone()], &["1.0", "-300.0", N]);
    check(&cast(col(0), LogicalType::Int32, false), &[i64s.clone()], &["1", "-300", N]);
    check(&cast(col(0), LogicalType::Int8, true), &[i64s.clone()], &["1", N, N]);
    check(&cast(col(0), LogicalType::UInt64, true), &[i64s.clone()], &["1", N, N]);
    check(&cast(col(0), LogicalType::Boolean, true), &[i64s.clone()], &["true", "true", N]);
    check(&cast(col(0), dec_type(10, 2), false), &[i64s.clone()], &["1.00", "-300.00", N]);
    check(&cast(col(0), dec_type(38, 10), false), &[i64s.clone()], &["1.0000000000", "-300.0000000000", N]);
    check(&cast(col(0), dec_type(4, 2), true), &[i64s.clone()], &["1.00", N, N]);
    check_error(
        &cast(col(0), LogicalType::Int8, false),
        &[i64s.clone()],
        "cannot cast \"-300\" from BIGINT to TINYINT",
    );
    check_error(&cast(col(0), dec_type(4, 2), false), &[i64s], "from BIGINT to DECIMAL(4, 2)");
    let floats = floats([Some(2.5), Some(3.5), Some(-0.4), Some(f64::NAN), Some(1e20), None]);
    check(&cast(col(0), LogicalType::Int64, true), &[floats.clone()], &["2", "4", "0", N, N, N]);
    check(&cast(col(0), dec_type(10, 1), true), &[floats.clone()], &["2.5", "3.5", "-0.4", N, N, N]);
    check(&cast(col(0), LogicalType::Float32, false), &[floats.clone()], &["2.5", "3.5", "-0.4", "NaN", "1e20", N]);
    check(&cast(col(0), LogicalType::UInt8, true), &[floats.clone()], &["2", "4", "0", N, N, N]);
    check_error(&cast(col(0), LogicalType::Int32, false), &[floats], "cannot cast \"NaN\" from DOUBLE to INTEGER");
    check(&cast(col(0), LogicalType::Int64, false), &[bools([Some(true), None])], &["1", N]);
    check(&cast(col(0), dec_type(3, 1), false), &[bools([Some(true), Some(false)])], &["1.0", "0.0"]);
}

#[test]
fn decimals_into_numbers() {
    let a = decimals([Some(250), Some(-250), Some(149), None], 15, 2);
    check(&cast(col(0), LogicalType::Int64, false), &[a.clone()], &["3", "-3", "1", N]);
    check(&cast(col(0), LogicalType::Float64, false), &[a.clone()], &["2.5", "-2.5", "1.49", N]);
    check(&cast(col(0), dec_type(15, 4), false), &[a.clone()], &["2.5000", "-2.5000", "1.4900", N]);
    check(&cast(col(0), dec_type(30, 4), false), &[a.clone()], &["2.5000", "-2.5000", "1.4900", N]);
    check(&cast(col(0), dec_type(15, 1), false), &[a.clone()], &["2.5", "-2.5", "1.5", N]);
    check(&cast(col(0), dec_type(15, 0), false), &[a.clone()], &["3", "-3", "1", N]);
    check(&cast(col(0), dec_type(2, 2), true), &[a.clone()], &[N, N, N, N]);
    check(&cast(col(0), LogicalType::Utf8, false), &[a.clone()], &["2.50", "-2.50", "1.49", N]);
    check_error(
        &cast(col(0), dec_type(2, 2), false),
        &[a],
        "cannot cast \"2.50\" from DECIMAL(15, 2) to DECIMAL(2, 2)",
    );
    let large = decimals([Some(10i128.pow(38) - 1)], 38, 0);
    check(&cast(col(0), LogicalType::Int64, true), &[large.clone()], &[N]);
    check(&cast(col(0), LogicalType::Float64, true), &[large], &["1e38"]);
}

#[test]
fn text_into_values() {
    let a = strings(&[Some(" 12 "), Some("-7"), Some("1.5"), Some("x"), Some(""), None]);
    check(&cast(col(0), LogicalType::Int64, true), &[a.clone()], &["12", "-7", N, N, N, N]);
    check(&cast(col(0), LogicalType::UInt8, true), &[a.clone()], &["12", N, N, N, N, N]);
    check(&cast(col(0), LogicalType::Float64, true), &[a.clone()], &["12.0", "-7.0", "1.5", N, N, N]);
    check(&cast(col(0), dec_type(10, 0), true), &[a.clone()], &["12", "-7", "2", N, N, N]);
    check(
        &cast(col(0), LogicalType::Boolean, true),
        &[strings(&[Some("T"), Some("no"), Some("maybe")])],
        &["true", "false", N],
    );
    check_error(&cast(col(0), LogicalType::Int64, false), &[a], "cannot cast \"1.5\" from VARCHAR to BIGINT");
    let numbers =
        strings(&[Some("1e3"), Some("-.5"), Some("0.004999"), Some("99999999.999"), Some("."), Some("12e-4")]);
    check(&cast(col(0), dec_type(10, 2), true), &[numbers], &["1000.00", "-0.50", "0.00", N, N, "0.00"]);
    let times = strings(&[
        Some("2024-02-29"),
        Some("2024-02-30"),
        Some("2024-02-29 12:30:45.6"),
        Some("2024-02-29T01:02:03Z"),
        Some("24-1-1"),
    ]);
    check(&cast(col(0), LogicalType::Date, true), &[times.clone()], &["2024-02-29", N, "2024-02-29", "2024-02-29", N]);
    let expected = ["2024-02-29T00:00:00", N, "2024-02-29T12:30:45.600", "2024-02-29T01:02:03", N];
    check(&cast(col(0), timestamp(Resolution::Millisecond), true), &[times], &expected);
    let zoned = LogicalType::Timestamp { resolution: Resolution::Second, zone: Some("Europe/Berlin".into()) };
    let readings = strings(&[Some("2024-07-01 12:00:00"), Some("2024-07-01 12:00:00+00")]);
    check(&cast(col(0), zoned, false), &[readings], &["2024-07-01T12:00:00+02:00", "2024-07-01T14:00:00+02:00"]);
    let clock = strings(&[Some("23:59:59.25"), Some("24:00:00"), Some("7:05")]);
    check(&cast(col(0), LogicalType::Time(Resolution::Millisecond), true), &[clock], &["23:59:59.250", N, "07:05:00"]);
}

#[test]
fn values_into_text() {
    let of = |array: ArrayRef, expected: &[&str]| check(&cast(col(0), LogicalType::Utf8, false), &[array], expected);
    of(ints([Some(-5), None]), &["-5", N]);
    of(bools([Some(true), Some(false)]), &["true", "false"]);
    of(
        floats([Some(1.0), Some(0.1), Some(1e21), Some(-1.5e-7), Some(f64::NAN), Some(f64::NEG_INFINITY)]),
        &["1", "0.1", "1e+21", "-1.5e-07", "NaN", "-Infinity"],
    );
    of(dates([Some(0), None]), &["1970-01-01", N]);
    of(micros([Some(0), Some(1_500_000), None]), &["1970-01-01 00:00:00", "1970-01-01 00:00:01.500", N]);
    of(decimals([Some(-5), Some(12_345)], 10, 3), &["-0.005", "12.345"]);
}

#[test]
fn times_into_times() {
    let a = micros([Some(1_500_000), Some(-1), None, Some(86_400_000_000)]);
    check(&cast(col(0), LogicalType::Date, false), &[a.clone()], &["1970-01-01", "1969-12-31", N, "1970-01-02"]);
    // Rounded to the nearest tick, as PostgreSQL does.
    let seconds = ["1970-01-01T00:00:02", "1970-01-01T00:00:00", N, "1970-01-02T00:00:00"];
    check(&cast(col(0), timestamp(Resolution::Second), false), &[a.clone()], &seconds);
    check(
        &cast(col(0), LogicalType::Time(Resolution::Microsecond), false),
        &[a],
        &["00:00:01.500", "23:59:59.999999", N, "00:00:00"],
    );
    check(
        &cast(col(0), timestamp(Resolution::Nanosecond), false),
        &[dates([Some(1), None])],
        &["1970-01-02T00:00:00", N],
    );
    check_error(
        &cast(col(0), timestamp(Resolution::Nanosecond), false),
        &[dates([Some(i32::MAX)])],
        "from DATE to TIMESTAMP(9)",
    );
    let berlin = LogicalType::Timestamp { resolution: Resolution::Microsecond, zone: Some("Europe/Berlin".into()) };
    check(&cast(col(0), berlin.clone(), false), &[micros([Some(0)])], &["1970-01-01T00:00:00+01:00"]);
    check(
        &cast(cast(col(0), berlin, false), timestamp(Resolution::Microsecond), false),
        &[micros([Some(0)])],
        &["1970-01-01T00:00:00"],
    );
}

#[test]
fn what_has_no_conversion_is_refused_when_compiled() {
    check_error(&cast(col(0), LogicalType::Date, false), &[ints([Some(1)])], "there is no cast from BIGINT to DATE");
    check_error(
        &cast(col(0), LogicalType::Boolean, false),
        &[dates([Some(1)])],
        "there is no cast from DATE to BOOLEAN",
    );
}
