//! Arithmetic of integers, floating-point numbers and decimals.

use super::*;

const I64: LogicalType = LogicalType::Int64;
const F64: LogicalType = LogicalType::Float64;

#[test]
fn integers() {
    let a = ints([Some(7), Some(-7), None, Some(0), Some(i64::MIN)]);
    let b = ints([Some(2), Some(2), Some(1), None, Some(1)]);
    let both = [a, b];
    let of = |name| call(name, [col(0), col(1)], I64);
    check(
        &of("subtract"),
        &[ints([Some(7), None, Some(i64::MIN + 1)]), ints([Some(2), Some(2), Some(1)])],
        &["5", "NULL", "-9223372036854775808"],
    );
    check(&of("divide"), &both, &["3", "-3", "NULL", "NULL", "-9223372036854775808"]);
    check(&of("modulo"), &both, &["1", "-1", "NULL", "NULL", "0"]);
    check(&call("add", [col(0), int(1)], I64), &both[..1], &["8", "-6", "NULL", "1", "-9223372036854775807"]);
    check(&call("multiply", [int(1), col(0)], I64), &both[..1], &["7", "-7", "NULL", "0", "-9223372036854775808"]);
    check(&call("modulo", [col(0), int(-1)], I64), &both[..1], &["0", "0", "NULL", "0", "0"]);
    check(&call("negate", [col(0)], I64), &[ints([Some(5), None, Some(-6)])], &["-5", "NULL", "6"]);
    check(&call("abs", [col(0)], I64), &[ints([Some(5), None, Some(-6)])], &["5", "NULL", "6"]);
    check(&call("add", [col(0), null(I64)], I64), &both[..1], &["NULL"; 5]);
    check(&call("add", [col(0), null(LogicalType::Null)], I64), &both[..1], &["NULL"; 5]);
}

#[test]
fn every_integer_width_overflows_at_its_own_limit() {
    fn at_limit(array: ArrayRef, one: i128, wanted: &str) {
        let data_type = LogicalType::from_arrow(array.data_type()).unwrap();
        let one = Expr::Literal(Literal { value: Value::Int(one), data_type: data_type.clone() });
        check_error(&call("add", [col(0), one], data_type), &[array], wanted);
    }
    at_limit(Arc::new(Int8Array::from(vec![127])), 1, "add of 127 + 1 is out of range for TINYINT");
    at_limit(Arc::new(Int16Array::from(vec![32767])), 1, "SMALLINT");
    at_limit(Arc::new(Int32Array::from(vec![i32::MIN])), -1, "-2147483648 + -1 is out of range for INTEGER");
    at_limit(Arc::new(Int64Array::from(vec![i64::MAX])), 1, "BIGINT");
    at_limit(Arc::new(UInt8Array::from(vec![255])), 1, "TINYINT UNSIGNED");
    at_limit(Arc::new(UInt16Array::from(vec![u16::MAX])), 1, "SMALLINT UNSIGNED");
    at_limit(Arc::new(UInt32Array::from(vec![u32::MAX])), 1, "INTEGER UNSIGNED");
    at_limit(Arc::new(UInt64Array::from(vec![u64::MAX])), 1, "BIGINT UNSIGNED");
}

#[test]
fn integer_errors_name_operation_and_value() {
    let a = ints([Some(i64::MIN)]);
    check_error(&call("divide", [col(0), int(-1)], I64), &[a.clone()], "divide of -9223372036854775808 / -1");
    check_error(
        &call("divide", [col(0), int(0)], I64),
        &[a.clone()],
        "division by zero in divide of -9223372036854775808",
    );
    check_error(&call("modulo", [int(5), col(0)], I64), &[ints([Some(0)])], "division by zero in modulo of 5");
    check_error(&call("multiply", [col(0), int(2)], I64), &[a.clone()], "multiply of -9223372036854775808 * 2");
    check_error(&call("negate", [col(0)], I64), &[a.clone()], "negate of -9223372036854775808");
    check_error(&call("abs", [col(0)], I64), &[a], "abs of -9223372036854775808");
    check_error(&call("divide", [int(1), int(0)], I64), &[ints([Some(1)])], "division by zero in divide of 1");
}

#[test]
fn floating_point() {
    let a = floats([Some(1.5), Some(f64::NAN), None, Some(f64::INFINITY), Some(-0.0)]);
    check(&call("add", [col(0), float(1.0)], F64), &[a.clone()], &["2.5", "NaN", "NULL", "inf", "1.0"]);
    check(&call("multiply", [col(0), float(2.0)], F64), &[a.clone()], &["3.0", "NaN", "NULL", "inf", "-0.0"]);
    check(&call("divide", [col(0), float(2.0)], F64), &[a], &["0.75", "NaN", "NULL", "inf", "-0.0"]);
    check(&call("modulo", [col(0), float(2.0)], F64), &[floats([Some(5.5), Some(-5.5)])], &["1.5", "-1.5"]);
    // Overflow is infinity; only division by zero is an error, and not for NaN (PostgreSQL).
    check(&call("multiply", [col(0), float(1e300)], F64), &[floats([Some(1e300)])], &["inf"]);
    check(&call("divide", [col(0), float(0.0)], F64), &[floats([Some(f64::NAN)])], &["NaN"]);
    check_error(
        &call("divide", [col(0), float(-0.0)], F64),
        &[floats([Some(1.5)])],
        "division by zero in divide of 1.5",
    );
}

#[test]
fn decimal_sums_and_products() {
    let a = decimals([Some(150), Some(-275), None, Some(0)], 15, 2);
    let b = decimals([Some(1), Some(10), Some(5), None], 9, 3);
    let both = [a.clone(), b];
    check(&call("add", [col(0), col(1)], dec_type(17, 3)), &both, &["1.501", "-2.740", "NULL", "NULL"]);
    check(&call("subtract", [col(0), col(1)], dec_type(17, 3)), &both, &["1.499", "-2.760", "NULL", "NULL"]);
    check(&call("multiply", [col(0), col(1)], dec_type(25, 5)), &both, &["0.00150", "-0.02750", "NULL", "NULL"]);
    check(&call("multiply", [col(0), int(3)], dec_type(35, 2)), &[a.clone()], &["4.50", "-8.25", "NULL", "0.00"]);
    check(&call("negate", [col(0)], dec_type(15, 2)), &[a.clone()], &["-1.50", "2.75", "NULL", "0.00"]);
    check(&call("abs", [col(0)], dec_type(15, 2)), &[a.clone()], &["1.50", "2.75", "NULL", "0.00"]);
    check(&call("modulo", [col(0), dec(100, 3, 2)], dec_type(15, 2)), &[a.clone()], &["0.50", "-0.75", "NULL", "0.00"]);
    // extendedprice * (1 - discount), as TPC-H asks for it.
    let net = call("multiply", [col(0), call("subtract", [dec(100, 3, 2), col(1)], dec_type(16, 2))], dec_type(32, 4));
    let columns = [decimals([Some(10_000_050)], 15, 2), decimals([Some(6)], 15, 2)];
    check(&net, &columns, &["94000.4700"]);
}

#[test]
fn quotients_are_rounded_half_up() {
    let a = decimals([Some(100), Some(-100), Some(200), Some(1), None], 10, 2);
    let expected = ["0.333333", "-0.333333", "0.666667", "0.003333", "NULL"];
    check(&call("divide", [col(0), dec(300, 10, 2)], dec_type(21, 6)), &[a.clone()], &expected);
    // 0.01 / 2 = 0.005 to two digits.
    check(&call("divide", [col(0), dec(2, 1, 0)], dec_type(10, 2)), &[a], &["0.50", "-0.50", "1.00", "0.01", "NULL"]);
    check(
        &call("divide", [col(0), dec(2, 1, 0)], dec_type(10, 2)),
        &[decimals([Some(-1), Some(-3)], 10, 2)],
        &["-0.01", "-0.02"],
    );
    // The dividend of 38 digits needs more than 128 bits to be scaled.
    let large = decimals([Some(5 * 10i128.pow(37))], 38, 0);
    let expected = format!("1{}.7", "6".repeat(36));
    check(&call("divide", [col(0), dec(30, 38, 0)], dec_type(38, 1)), &[large], &[&expected]);
}

#[test]
fn a_scale_that_is_cut_rounds_half_up() {
    let a = decimals([Some(15), Some(-15), Some(14)], 20, 10);
    // 15e-10 * 1e-9 rounded at 18 digits: 1.5e-18 to 2e-18.
    let product = call("multiply", [col(0), dec(1, 20, 9)], dec_type(38, 18));
    check(&product, &[a], &["0.000000000000000002", "-0.000000000000000002", "0.000000000000000001"]);
}

#[test]
fn decimals_at_their_limits() {
    let most = 10i128.pow(38) - 1;
    let a = decimals([Some(most)], 38, 0);
    check(&call("add", [col(0), dec(0, 38, 0)], dec_type(38, 0)), &[a.clone()], &[&most.to_string()]);
    check_error(
        &call("add", [col(0), dec(1, 38, 0)], dec_type(38, 0)),
        &[a.clone()],
        "out of range for DECIMAL(38, 0)",
    );
    check_error(&call("multiply", [col(0), col(0)], dec_type(38, 0)), &[a.clone()], "multiply of");
    check_error(&call("divide", [col(0), dec(0, 38, 0)], dec_type(38, 6)), &[a], "division by zero in divide of 9999");
    // 18 nines on 64 bits: the sum needs 19 digits, the product 36.
    let nines = 10i64.pow(18) - 1;
    let b = small_decimals([Some(nines), None], 18, 0);
    check(&call("add", [col(0), col(0)], dec_type(19, 0)), &[b.clone()], &["1999999999999999998", "NULL"]);
    let square = (i128::from(nines) * i128::from(nines)).to_string();
    check(&call("multiply", [col(0), col(0)], dec_type(37, 0)), &[b], &[&square, "NULL"]);
}

#[test]
fn small_values_stay_on_64_bits_whatever_the_type() {
    let a = small_decimals([Some(10_000_050), Some(-3)], 15, 2);
    let product = call("multiply", [col(0), col(0)], dec_type(31, 4));
    let column = run(&product, &batch(&[a])).unwrap();
    assert_eq!(*column.array().data_type(), DataType::Decimal64(18, 4));
    // Also when they arrive on 128 bits.
    let column = run(&product, &batch(&[decimals([Some(10_000_050)], 15, 2)])).unwrap();
    assert_eq!(*column.array().data_type(), DataType::Decimal64(18, 4));
    // One large value moves the batch to 128 bits.
    let column = run(&product, &batch(&[small_decimals([Some(3), Some(10i64.pow(14))], 15, 2)])).unwrap();
    assert_eq!(*column.array().data_type(), DataType::Decimal128(31, 4));
    assert_eq!(column.array().as_primitive::<Decimal128Type>().value(1), 10i128.pow(28));
}
