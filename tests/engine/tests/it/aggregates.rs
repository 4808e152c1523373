//! Aggregate functions against arithmetic done here.

use crate::harness::{rows, session};

/// The values of a group, NULLs left out.
fn values(group: i64) -> Vec<f64> {
    (0..200).filter(|i| i % 4 == group && i % 7 != 0).map(|i| (i * i % 31) as f64 / 2.0).collect()
}

const TABLE: &str = "CREATE TABLE t AS
    SELECT i % 4 AS g, CASE WHEN i % 7 = 0 THEN NULL ELSE CAST(i * i % 31 AS DOUBLE) / 2 END AS x,
           CASE WHEN i % 7 = 0 THEN NULL ELSE CAST(i * i % 31 AS DECIMAL(9, 2)) / 2 END AS d, i % 4 < 2 OR i % 8 = 2 AS b
    FROM (SELECT a + 10 * b AS i FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) p(a),
          (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15), (16), (17), (18), (19)) q(b)) r";

#[test]
fn variances_and_deviations_are_those_of_their_definitions() {
    for parallelism in ["1", "2", "7"] {
        let mut session = session(&[("parallelism.default", parallelism), ("execution.batch-size", "7")]);
        rows(&mut session, TABLE).unwrap();
        for column in ["x", "d"] {
            let query = format!(
                "SELECT g, var_pop({column}), var_samp({column}), variance({column}), stddev_pop({column}),
                        stddev_samp({column}), stddev({column}), mean({column}) FROM t GROUP BY g ORDER BY g"
            );
            let found = rows(&mut session, &query).unwrap();
            assert_eq!(found.len(), 4);
            for (group, row) in (0..).zip(found) {
                let values = values(group);
                let n = values.len() as f64;
                let mean = values.iter().sum::<f64>() / n;
                let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
                let (pop, samp) = (squares / n, squares / (n - 1.0));
                let expected = [pop, samp, samp, pop.sqrt(), samp.sqrt(), samp.sqrt(), mean];
                for (cell, expected) in row[1..].iter().zip(expected) {
                    let cell: f64 = cell.parse().unwrap();
                    // The mean of decimals has six digits.
                    assert!((cell - expected).abs() < 1e-6, "{column}, group {group}: {cell}, {expected}");
                }
            }
        }
        // Of one value there is no sample variance, of none nothing.
        let few = rows(&mut session, "SELECT var_samp(x), var_pop(x), stddev(x) FROM (VALUES (2.5)) v(x)").unwrap();
        assert_eq!(few, [["", "0.0", ""]]);
        let none = rows(&mut session, "SELECT var_pop(x), bool_and(b), any_value(g) FROM t WHERE g > 9").unwrap();
        assert_eq!(none, [["", "", ""]]);
    }
}

#[test]
fn conditions_and_any_value_leave_nulls_out() {
    for parallelism in ["1", "2", "7"] {
        let mut session = session(&[("parallelism.default", parallelism), ("execution.batch-size", "7")]);
        rows(&mut session, TABLE).unwrap();
        let query = "SELECT g, bool_and(b), every(b), bool_or(b), any_value(g) FROM t GROUP BY g ORDER BY g";
        let found = rows(&mut session, query).unwrap();
        let expected = [
            ["0", "true", "true", "true", "0"],
            ["1", "true", "true", "true", "1"],
            ["2", "false", "false", "true", "2"],
            ["3", "false", "false", "false", "3"],
        ];
        assert_eq!(found, expected);
        let nulls =
            "SELECT bool_and(b), bool_or(b), any_value(s) FROM (VALUES (NULL, NULL), (true, 'x'), (NULL, 'x')) v(b, s)";
        assert_eq!(rows(&mut session, nulls).unwrap(), [["true", "true", "x"]]);
        for (query, part) in [
            ("SELECT bool_and(g) FROM t", "take conditions"),
            ("SELECT stddev(b) FROM t", "take numbers"),
            ("SELECT sttdev(x) FROM t", "did you mean \"stddev\"?"),
        ] {
            let error = rows(&mut session, query).unwrap_err().render();
            assert!(error.contains(part), "{query}: {error}");
        }
    }
}
