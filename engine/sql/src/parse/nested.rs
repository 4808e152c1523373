//! Ways to write parts of nested values, as the binder takes them.
//!
//! `struct_pack(a := 1)` is `{a: 1}`; a name after a subscript or an expression, as in `l[1].a`, is `l[1]['a']`; and the
//! bounds that a slice leaves out are the first item and the last.

use datafusion_sql::sqlparser::ast::{
    AccessExpr, DictionaryField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Subscript,
    UnaryOperator, Value,
};

fn one() -> Expr {
    Expr::value(Value::Number("1".to_owned(), false))
}

/// Names and bounds in a chain of accesses.
pub(super) fn name_parts(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    // Names that follow a name are the table's, the column's, and fields, which only the binder can tell apart.
    let mut is_path = matches!(root.as_ref(), Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    for access in access_chain {
        match access {
            AccessExpr::Dot(Expr::Identifier(name)) if !is_path => {
                let index = Expr::value(Value::SingleQuotedString(name.value.clone()));
                *access = AccessExpr::Subscript(Subscript::Index { index });
            }
            AccessExpr::Dot(_) => {}
            AccessExpr::Subscript(subscript) => {
                is_path = false;
                if let Subscript::Slice { lower_bound, upper_bound, .. } = subscript {
                    lower_bound.get_or_insert_with(one);
                    let last = || Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(one()) };
                    upper_bound.get_or_insert_with(last);
                }
            }
        }
    }
}

/// `struct_pack(a := 1)`.
pub(super) fn struct_of_names(expr: &mut Expr) {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), over: None, .. }) = expr else { return };
    if !name.to_string().eq_ignore_ascii_case("struct_pack") {
        return;
    }
    let field = |arg: &FunctionArg| match arg {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
            Some(DictionaryField { key: name.clone(), value: Box::new(value.clone()) })
        }
        _ => None,
    };
    if let Some(fields) = list.args.iter().map(field).collect::<Option<Vec<_>>>() {
        *expr = Expr::Dictionary(fields);
    }
}
