//! Ways to write UNNEST, as one.
//!
//! `range(...)` and `generate_series(...)` in FROM are UNNEST of the functions of these names, and so is what follows LATERAL
//! without a query.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    TableAlias, TableAliasColumnDef, TableFactor,
};

/// Functions of lists that may be called in FROM.
const SERIES: [&str; 2] = ["range", "generate_series"];

fn series(name: &ObjectName) -> Option<&'static str> {
    let name = name.to_string();
    SERIES.into_iter().find(|series| name.eq_ignore_ascii_case(series))
}

/// A call of a function.
pub(crate) fn call(name: &str, args: Vec<FunctionArg>) -> Expr {
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn expressions(args: &[FunctionArg]) -> Option<Vec<Expr>> {
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

pub(super) fn normalize(factor: &mut TableFactor) {
    let (name, args, alias, with_ordinality) = match factor {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } if args.settings.is_none() => {
            (name, &args.args, alias, with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => (name, &*args, alias, with_ordinality),
        _ => return,
    };
    let (array_exprs, default) = match series(name) {
        Some(series) => (Some(vec![call(series, args.clone())]), series),
        None if name.to_string().eq_ignore_ascii_case("unnest") => (expressions(args), "unnest"),
        None => return,
    };
    let Some(array_exprs) = array_exprs else { return };
    let mut alias = alias.take();
    if default != "unnest" {
        let given = alias.get_or_insert_with(|| named(default));
        if given.columns.is_empty() {
            given.columns.push(TableAliasColumnDef::from_name(default));
        }
    }
    *factor = TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    };
}

/// A table's name.
pub(crate) fn named(name: &str) -> TableAlias {
    TableAlias { explicit: false, name: Ident::new(name), columns: Vec::new(), at: None }
}
