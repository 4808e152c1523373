//! Names and shapes, made uniform before the binder sees them.
//!
//! Identifiers are case-insensitive and keep their case: the binder works on lower-case names only (quoted ones are
//! lowered here, in the tokens; tables present lower-case columns), and the written case is looked up again for what
//! people see. Select items without a name get their own text as a name, as PostgreSQL's clients and DuckDB show it.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, Expr, GroupByExpr, Ident, ObjectNamePart, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias,
    TableFactor, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::limits::{EXPRESSIONS_MAX, RELATIONS_MAX, too_deep};
use super::{
    asof, merged_columns, named_windows, nested, read_function, shadowed, spellings, token_forms, unnest, unread, using,
};
use crate::error::{Result, SqlError, SqlErrorKind};

/// Names as they are written in the text, by lower case.
#[derive(Debug, Default)]
pub(crate) struct WrittenNames {
    quoted: HashMap<String, String>,
}

impl WrittenNames {
    /// Lowers quoted names in the tokens. Quoted paths of files are left alone.
    pub(crate) fn lower(tokens: &mut [TokenWithSpan]) -> Self {
        let mut names = Self::default();
        for token in tokens {
            let Token::Word(word) = &mut token.token else { continue };
            if word.quote_style.is_none() || looks_like_file(&word.value) {
                continue;
            }
            let lower = word.value.to_lowercase();
            if lower != word.value {
                names.quoted.insert(lower.clone(), std::mem::replace(&mut word.value, lower));
            }
        }
        names
    }

    /// How the name is written where it is given as an alias.
    pub(crate) fn written(&self, ident: &Ident) -> String {
        match ident.quote_style {
            Some(_) => self.quoted.get(&ident.value).cloned().unwrap_or_else(|| ident.value.clone()),
            None => ident.value.clone(),
        }
    }
}

/// Whether a quoted name means a file rather than a table.
pub(crate) fn looks_like_file(name: &str) -> bool {
    name.contains(['/', '*', '\\', '.'])
}

#[derive(Default)]
struct Normalize {
    relations: usize,
    /// Expressions inside of each other where the visitor is.
    depth: usize,
    /// Names of WITH around the place where the visitor is.
    scopes: shadowed::Scopes,
}

impl VisitorMut for Normalize {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.scopes.enter(query);
        spellings::order(query);
        if let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &query.order_by)
            && let Err(error) = merged_columns::check(select, Some(order))
        {
            return ControlFlow::Break(error);
        }
        broken(unread::check_query(query).and_then(|()| named_windows::resolve_order(query)))
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        if let Err(error) = unread::check_select(select) {
            return ControlFlow::Break(error);
        }
        if select.flavor == SelectFlavor::FromFirstNoSelect || select.projection.is_empty() && !select.from.is_empty() {
            select.projection = vec![SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())];
        }
        select.flavor = SelectFlavor::Standard;
        if let Err(error) = merged_columns::check(select, None) {
            return ControlFlow::Break(error);
        }
        name_items(select);
        group_by_nothing(select);
        group_by_all(select);
        broken(spellings::select(select).and_then(|()| named_windows::resolve(select)))
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        // Now every file has a name.
        if let Err(error) = asof::mark(select) {
            return ControlFlow::Break(error);
        }
        using::qualify(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _expr: &mut Expr) -> ControlFlow<SqlError> {
        self.depth += 1;
        // Brackets were counted before; this is for what needs none, as a row of casts.
        if self.depth > EXPRESSIONS_MAX { ControlFlow::Break(too_deep()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        self.depth -= 1;
        nested::struct_of_names(expr);
        nested::name_parts(expr);
        // A number with an exponent is a DOUBLE; the binder would make it a DECIMAL.
        if let Expr::Value(value) = expr
            && let ast::Value::Number(text, _) = &value.value
            && text.contains(['e', 'E'])
        {
            *expr = Expr::Cast {
                kind: ast::CastKind::Cast,
                expr: Box::new(Expr::value(ast::Value::SingleQuotedString(text.clone()))),
                data_type: ast::DataType::Double(ast::ExactNumberInfo::None),
                array: false,
                format: None,
            };
            return ControlFlow::Continue(());
        }
        broken(spellings::expression(expr))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        self.relations += 1;
        if self.relations > RELATIONS_MAX {
            return ControlFlow::Break(SqlError::new(
                SqlErrorKind::Limit,
                format!("the statement reads more than {RELATIONS_MAX} relations"),
            ));
        }
        unnest::normalize(factor);
        if let Err(error) = unread::check_table(factor) {
            return ControlFlow::Break(error);
        }
        let read = match read_function::rewrite(factor) {
            Ok(read) => read,
            Err(error) => return ControlFlow::Break(error),
        };
        if let Some(path) = read {
            if let TableFactor::Table { alias: alias @ None, .. } = factor
                && let Some(stem) = path.lines().next().and_then(file_stem)
            {
                let name = Ident::with_quote('"', stem);
                *alias = Some(TableAlias { explicit: false, name, columns: Vec::new(), at: None });
            }
            return ControlFlow::Continue(());
        }
        // `FROM 'dir'` is a directory, unless there is a table of that name.
        if let TableFactor::Table { name, args: None, .. } = factor
            && let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice()
            && ident.quote_style == Some('\'')
            && !looks_like_file(&ident.value)
        {
            ident.value.push('/');
        }
        // `FROM 'dir/orders.parquet'` can be called `orders`.
        if let TableFactor::Table { name, alias: alias @ None, args: None, .. } = factor
            && let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && ident.quote_style.is_some()
            && looks_like_file(&ident.value)
            && let Some(stem) = file_stem(&ident.value)
        {
            let name = Ident::with_quote('"', stem);
            *alias = Some(TableAlias { explicit: false, name, columns: Vec::new(), at: None });
        }
        ControlFlow::Continue(())
    }
}

fn broken(result: Result<()>) -> ControlFlow<SqlError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// Normalizes a query.
pub(crate) fn query(query: &mut Query, names: &WrittenNames) -> Result<()> {
    let _ = names;
    match query.visit(&mut Normalize::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn file_stem(path: &str) -> Option<String> {
    let file = path.trim_end_matches('/').rsplit(['/', '\\']).next()?;
    let stem = file.split('.').next()?.to_lowercase();
    let is_name = !stem.is_empty() && stem.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    is_name.then_some(stem)
}

/// Longest name that an expression gets from its own text.
const TEXT_NAME_MAX: usize = 96;
/// What is written more than that, for marks that are shorter when they are shown.
const MARKS_MAX: usize = 64;

fn name_items(select: &mut Select) {
    let mut used = UsedNames::default();
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match &*expr {
                    Expr::Identifier(ident) => ident.value.to_lowercase(),
                    Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.to_lowercase()).unwrap_or_default(),
                    other => text_name(other),
                };
                let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let unique = used.unique(&name);
                if !is_column || unique != name {
                    let expr = std::mem::replace(expr, Expr::value(ast::Value::Null));
                    *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', unique) };
                }
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = alias.value.to_lowercase();
                let unique = used.unique(&name);
                if unique != name {
                    *alias = Ident::with_quote('"', unique);
                }
            }
            _ => {}
        }
    }
}

/// The names of select items so far.
#[derive(Default)]
struct UsedNames {
    used: HashSet<String>,
    /// By name, the number up to which all are taken: thousands of equal names cost no more than as many others.
    taken: HashMap<String, usize>,
}

impl UsedNames {
    /// The name itself, or with the first number that is free; from now on it is used.
    fn unique(&mut self, name: &str) -> String {
        if self.used.insert(name.to_owned()) {
            return name.to_owned();
        }
        let taken = self.taken.entry(name.to_owned()).or_default();
        loop {
            *taken += 1;
            let candidate = format!("{name}_{taken}");
            if self.used.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

/// The text of an expression as a name, cut if it is long. Writing stops at the cut, and goes down a chain of operators
/// by a loop, so that a huge expression costs no more than a small one.
pub(super) fn text_name(expr: &Expr) -> String {
    use std::fmt::Write;
    struct Cut(String);
    impl Write for Cut {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for c in text.chars() {
                if self.0.len() >= TEXT_NAME_MAX + MARKS_MAX {
                    return Err(std::fmt::Error);
                }
                self.0.push(c);
            }
            Ok(())
        }
    }
    let (mut first, mut rest) = (expr, Vec::new());
    while let Expr::BinaryOp { left, op, right } = first {
        rest.push((op, right));
        first = left;
    }
    let mut cut = Cut(String::new());
    // Marks that stand for syntax are longer than what they stand for.
    let is_cut = write!(cut, "{first}")
        .and_then(|()| rest.into_iter().rev().try_for_each(|(op, right)| write!(cut, " {op} {right}")))
        .is_err();
    let mut name = token_forms::shown(cut.0);
    if is_cut || name.len() > TEXT_NAME_MAX {
        name.truncate(name.floor_char_boundary(TEXT_NAME_MAX));
        name.push_str("...");
    }
    name
}

/// `GROUP BY ()` is one group, also of no rows; beside other keys it adds nothing.
fn group_by_nothing(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return };
    let count = keys.len();
    keys.retain(|key| !matches!(key, Expr::Tuple(items) if items.is_empty()));
    if keys.is_empty() && count > 0 {
        keys.push(Expr::GroupingSets(vec![Vec::new()]));
    }
}

/// `GROUP BY ALL`: by every select item without an aggregate or window function.
fn group_by_all(select: &mut Select) {
    if !matches!(&select.group_by, GroupByExpr::All(modifiers) if modifiers.is_empty()) {
        return;
    }
    let keys = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
            _ => None,
        })
        .filter(|e| !is_computed_of_groups(e))
        .cloned()
        .collect();
    select.group_by = GroupByExpr::Expressions(keys, Vec::new());
}

pub(super) fn is_computed_of_groups(expr: &Expr) -> bool {
    ast::visit_expressions(expr, |e| match e {
        Expr::Function(f) if f.over.is_some() || crate::bind::aggregates::is_aggregate(&f.name.to_string()) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The aliases of the outermost select list as they are written, by lower case.
pub(crate) fn output_aliases(query: &Query, names: &WrittenNames) -> HashMap<String, String> {
    let mut body = &*query.body;
    loop {
        match body {
            SetExpr::Query(inner) => body = &inner.body,
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Select(select) => {
                return select
                    .projection
                    .iter()
                    .filter_map(|item| match item {
                        SelectItem::ExprWithAlias { alias, .. } => {
                            Some((alias.value.to_lowercase(), names.written(alias)))
                        }
                        _ => None,
                    })
                    .collect();
            }
            _ => return HashMap::new(),
        }
    }
}
