//! The keywords that are shown and completed.

/// Whether a word is one of them, in any case.
pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search_by(|known| (*known).cmp(word.to_ascii_uppercase().as_str())).is_ok()
}

/// In order.
#[rustfmt::skip]
pub(super) const KEYWORDS: &[&str] = &[
    "ALL", "ANALYZE", "AND", "ANTI", "ANY", "ARRAY", "AS", "ASC", "ASOF", "BETWEEN", "BIGINT", "BOOLEAN", "BY",
    "CASE", "CAST", "COPY", "CREATE", "CROSS", "CUBE", "CURRENT", "CURRENT_DATE", "CURRENT_TIMESTAMP", "DATE",
    "DECIMAL", "DESC", "DESCRIBE", "DESCRIPTOR", "DISTINCT", "DOUBLE", "DROP", "ELSE", "END", "ESCAPE", "EXCEPT",
    "EXCLUDE", "EXISTS", "EXPLAIN", "EXTRACT", "FALSE", "FETCH", "FILTER", "FIRST", "FLOAT", "FOLLOWING", "FOR",
    "FROM", "FULL", "GROUP", "GROUPING", "GROUPS", "HAVING", "IF", "ILIKE", "IN", "INNER", "INSERT", "INT",
    "INTEGER", "INTERSECT", "INTERVAL", "INTO", "IS", "JOIN", "LAST", "LATERAL", "LEFT", "LIKE", "LIMIT",
    "MATCH_CONDITION", "NATURAL", "NOT", "NULL", "NULLS", "OFFSET", "ON", "OR", "ORDER", "OUTER", "OVER",
    "PARTITION", "PIVOT", "PRECEDING", "QUALIFY", "RANGE", "RECURSIVE", "REPLACE", "RESET", "RIGHT", "ROLLUP",
    "ROW", "ROWS", "SELECT", "SEMI", "SET", "SETS", "SHOW", "SMALLINT", "SUMMARIZE", "TABLE", "TABLES", "THEN",
    "TIME", "TIMESTAMP", "TINYINT", "TO", "TRUE", "TRY_CAST", "TUMBLE", "UNBOUNDED", "UNION", "UNNEST", "USING",
    "VALUES", "VARCHAR", "VIEW", "VIEWS", "WATERMARK", "WHEN", "WHERE", "WINDOW", "WITH",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_in_any_case() {
        assert!(KEYWORDS.is_sorted());
        assert!(is_keyword("select") && is_keyword("Try_Cast") && !is_keyword("price"));
    }
}
