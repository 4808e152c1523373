//! A subquery for all values of its parameters at once.
//!
//! [`Dependent::plan`] takes a plan with parameters and gives one without, whose rows carry in further columns, the
//! *keys*, the values of the parameters that they belong to. It walks down to where the parameters are used and carries
//! the keys up again: through a projection as columns, through a grouping as keys, through a window and a LIMIT as the
//! partition. At the bottom the values come from
//! * an equality of each parameter with something of the subquery's own rows (`WHERE o.k = p`): that is the key; or else
//! * the *domain*: the distinct values that the rows around the subquery have, joined to what is below.
//!
//! The first has rows for values that nobody asks for, and none for values that are asked for without rows; an aggregate
//! of everything, which has a row also for no rows, is therefore joined to the domain. Keys are compared as DISTINCT does,
//! NULL with NULL, wherever they meet.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, NullEquality, Result, ScalarValue, TableReference};
use datafusion_expr::builder::unnest_with_options;
use datafusion_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, FetchType, Filter, Join, Limit, LogicalPlan, Operator,
    Projection, SkipType, SortExpr, SubqueryAlias, Union, Unnest, Window, WindowFrame, WindowFunctionDefinition, lit,
    when,
};

use super::{Decorrelation, Keys, filtered, free_columns, joined, lifted, met, unsupported};
use crate::bind::aggregates::{AggregateFunction, AggregateKind};
use crate::bind::windows;

/// The parameters of one subquery.
pub(super) struct Dependent<'a> {
    names: &'a mut Decorrelation,
    parameters: &'a [Column],
    /// The distinct values of the parameters, in their order.
    domain: LogicalPlan,
}

impl<'a> Dependent<'a> {
    /// `around` has the parameters among its columns.
    pub(super) fn new(names: &'a mut Decorrelation, parameters: &'a [Column], around: &LogicalPlan) -> Dependent<'a> {
        let columns: Vec<Expr> = parameters.iter().cloned().map(Expr::Column).collect();
        let values = Projection::try_new(columns, Arc::new(around.clone()));
        let domain = match values {
            Ok(values) => LogicalPlan::Distinct(Distinct::All(Arc::new(LogicalPlan::Projection(values)))),
            Err(_) => around.clone(),
        };
        Self { names, parameters, domain }
    }

    pub(super) fn plan(mut self, plan: LogicalPlan) -> Result<(LogicalPlan, Keys)> {
        self.push(plan)
    }

    fn push(&mut self, plan: LogicalPlan) -> Result<(LogicalPlan, Keys)> {
        if !self.refers(&plan) {
            let (domain, keys) = self.domain()?;
            // One row without columns adds nothing.
            let is_one_row = matches!(&plan, LogicalPlan::EmptyRelation(empty)
                if empty.produce_one_row && empty.schema.fields().is_empty());
            return Ok((if is_one_row { domain } else { cross(domain, plan)? }, keys));
        }
        match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => match lifted(scan)? {
                LogicalPlan::Filter(filter) => self.filter(filter),
                other => Err(unsupported(&format!("a subquery with {}", other.display()))),
            },
            LogicalPlan::Projection(Projection { expr, input, schema, .. }) => {
                let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
                let columns = expr
                    .into_iter()
                    .zip(schema.iter())
                    .map(|(e, (qualifier, field))| {
                        let changed = self.place(e.clone(), &keys)?;
                        // A parameter that is an output keeps the name that it had.
                        Ok(if changed == e { e } else { changed.alias_qualified(qualifier.cloned(), field.name()) })
                    })
                    .chain(keys.iter().map(|(_, key)| Ok(Expr::Column(key.clone()))))
                    .collect::<Result<_>>()?;
                Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?), keys))
            }
            // The only relation of a FROM, if it is lateral.
            LogicalPlan::Subquery(subquery) => self.push(Arc::unwrap_or_clone(subquery.subquery)),
            LogicalPlan::Unnest(Unnest { input, exec_columns, options, .. }) => {
                let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
                Ok((unnest_with_options(input, exec_columns, options)?, keys))
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
                let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
                Ok((requalified(input, &alias, &keys)?, keys))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
                Ok((LogicalPlan::Distinct(Distinct::All(Arc::new(input))), keys))
            }
            // The order of a subquery's rows is nobody's to see but a LIMIT's.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.push(Arc::unwrap_or_clone(sort.input)),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(Window { input, window_expr, .. }) => {
                let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
                let expressions = window_expr.into_iter().map(|e| self.by_key(e, &keys)).collect::<Result<Vec<_>>>()?;
                Ok((LogicalPlan::Window(Window::try_new(expressions, Arc::new(input))?), keys))
            }
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            other => {
                Err(unsupported(&format!("a subquery with {} and columns of the query around it", other.display())))
            }
        }
    }

    fn refers(&self, plan: &LogicalPlan) -> bool {
        free_columns(plan).iter().any(|c| self.parameters.contains(c))
    }

    /// The expression with the keys in the place of the parameters.
    fn place(&self, expr: Expr, keys: &Keys) -> Result<Expr> {
        self.substitute(expr, |index| Expr::Column(keys[index].1.clone()))
    }

    fn substitute(&self, expr: Expr, with: impl Fn(usize) -> Expr) -> Result<Expr> {
        expr.transform_up(|e| match &e {
            Expr::OuterReferenceColumn(_, column) => match self.parameters.iter().position(|p| p == column) {
                Some(index) => Ok(Transformed::yes(with(index))),
                None => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        })
        .map(|t| t.data)
    }

    /// The domain under a name of its own.
    fn domain(&mut self) -> Result<(LogicalPlan, Keys)> {
        let alias = self.names.name("domain");
        // Two parameters may have one name.
        let columns: Vec<Expr> = self
            .domain
            .schema()
            .columns()
            .into_iter()
            .enumerate()
            .map(|(index, column)| Expr::Column(column).alias(format!("parameter_{index}")))
            .collect();
        let named = Projection::try_new(columns, Arc::new(self.domain.clone()))?;
        let plan = SubqueryAlias::try_new(Arc::new(LogicalPlan::Projection(named)), alias.as_str())?;
        let key = |index| Column::new(Some(alias.as_str()), format!("parameter_{index}"));
        let keys = self.parameters.iter().cloned().enumerate().map(|(index, p)| (p, key(index))).collect();
        Ok((LogicalPlan::SubqueryAlias(plan), keys))
    }

    fn filter(&mut self, filter: Filter) -> Result<(LogicalPlan, Keys)> {
        let Filter { predicate, input, .. } = filter;
        if self.refers(&input) {
            let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
            let predicate = self.place(predicate, &keys)?;
            return Ok((filtered(Some(predicate), input)?, keys));
        }
        let conditions = split_conjunction(&predicate);
        let found: Option<Vec<Expr>> = self
            .parameters
            .iter()
            .map(|parameter| conditions.iter().find_map(|c| equal_to(c, parameter, input.schema())))
            .collect();
        let Some(values) = found else {
            let (domain, keys) = self.domain()?;
            let predicate = self.place(predicate, &keys)?;
            return Ok((filtered(Some(predicate), cross(domain, Arc::unwrap_or_clone(input))?)?, keys));
        };
        let mut all = Vec::with_capacity(conditions.len());
        for condition in conditions {
            all.push(self.substitute(condition.clone(), |index| values[index].clone())?);
        }
        // NULL equals nothing here; an equality of a value with itself says the same and may be taken away.
        for value in &values {
            if value.nullable(input.schema())? {
                all.push(value.clone().is_not_null());
            }
        }
        let alias = self.names.name("key");
        let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let mut keys = Vec::with_capacity(values.len());
        for (index, (parameter, value)) in self.parameters.iter().zip(values).enumerate() {
            let name = format!("{alias}_{index}");
            columns.push(value.alias(&name));
            keys.push((parameter.clone(), Column::new_unqualified(name)));
        }
        let plan = filtered(conjunction(all), Arc::unwrap_or_clone(input))?;
        Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?), keys))
    }

    fn aggregate(&mut self, node: Aggregate) -> Result<(LogicalPlan, Keys)> {
        let Aggregate { input, group_expr, aggr_expr, schema, .. } = node;
        let (input, keys) = self.push(Arc::unwrap_or_clone(input))?;
        if matches!(group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            return Err(unsupported("GROUPING SETS in a subquery with columns of the query around it"));
        }
        let of_everything = group_expr.is_empty();
        let groups: Vec<Expr> = group_expr
            .into_iter()
            .map(|e| self.place(e, &keys))
            .chain(keys.iter().map(|(_, key)| Ok(Expr::Column(key.clone()))))
            .collect::<Result<_>>()?;
        let calls = aggr_expr.into_iter().map(|e| self.place(e, &keys)).collect::<Result<Vec<_>>>()?;
        let counts: Vec<bool> = calls.iter().map(is_count).collect();
        let own_groups = groups.len() - keys.len();
        let grouped = Aggregate::try_new(Arc::new(input), groups, calls)?;
        // Under the names that they had: the keys are behind the groups.
        let mut results = grouped.schema.columns();
        results.drain(own_groups..own_groups + keys.len());
        let names = schema.columns();
        let plan = LogicalPlan::Aggregate(grouped);
        if !of_everything {
            let columns = results.into_iter().zip(names).map(|(column, name)| called(column, name));
            let columns = columns.chain(keys.iter().map(|(_, key)| Expr::Column(key.clone()))).collect();
            return Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?), keys));
        }
        let (domain, asked) = self.domain()?;
        let pairs: Vec<_> = asked.iter().zip(&keys).map(|((_, asked), (_, key))| (asked, key)).collect();
        let on = met(&pairs, &domain, &plan)?;
        let plan = joined(domain, plan, on, None, JoinType::Left, NullEquality::NullEqualsNothing)?;
        let columns = results
            .into_iter()
            .zip(counts)
            .zip(names)
            .map(|((column, is_count), name)| {
                if !is_count {
                    return Ok(called(column, name));
                }
                // No rows are counted as none.
                let zero = lit(ScalarValue::Int64(Some(0)));
                let value = Expr::Column(column);
                let value = when(value.clone().is_null(), zero).otherwise(value)?;
                Ok(value.alias_qualified(name.relation, name.name))
            })
            .chain(asked.iter().map(|(_, key)| Ok(Expr::Column(key.clone()))))
            .collect::<Result<_>>()?;
        Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?), asked))
    }

    /// The first rows of each key: those that have the smallest numbers.
    fn limit(&mut self, limit: Limit) -> Result<(LogicalPlan, Keys)> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(unsupported("a LIMIT that is no number, in a subquery with columns of the query around it"));
        };
        let (order, input) = match Arc::unwrap_or_clone(limit.input) {
            // It is the rows below that are sorted.
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                let below = Arc::new(LogicalPlan::Limit(Limit { skip: limit.skip, fetch: limit.fetch, input }));
                return self.push(LogicalPlan::Projection(Projection::try_new(expr, below)?));
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
                let below = Arc::new(LogicalPlan::Limit(Limit { skip: limit.skip, fetch: limit.fetch, input }));
                return self.push(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(below, alias)?));
            }
            LogicalPlan::Sort(sort) => (sort.expr, Arc::unwrap_or_clone(sort.input)),
            other => (Vec::new(), other),
        };
        let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let (input, keys) = self.push(input)?;
        let order = order
            .into_iter()
            .map(|sort| Ok(SortExpr { expr: self.place(sort.expr, &keys)?, ..sort }))
            .collect::<Result<Vec<_>>>()?;
        let number = self.names.name("number");
        let call = Expr::WindowFunction(Box::new(WindowFunction {
            fun: WindowFunctionDefinition::WindowUDF(windows::row_number()),
            params: WindowFunctionParams {
                args: Vec::new(),
                partition_by: keys.iter().map(|(_, key)| Expr::Column(key.clone())).collect(),
                window_frame: WindowFrame::new(Some(!order.is_empty())),
                order_by: order,
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        }));
        let window = Window::try_new(vec![call], Arc::new(input))?;
        let numbered = window.schema.columns();
        let mut all: Vec<Expr> = numbered.iter().cloned().map(Expr::Column).collect();
        if let Some(last) = all.pop() {
            all.push(last.alias(&number));
        }
        let plan = LogicalPlan::Projection(Projection::try_new(all, Arc::new(LogicalPlan::Window(window)))?);
        let number = Expr::Column(Column::new_unqualified(number));
        let bound = |n: usize| lit(ScalarValue::Int64(Some(i64::try_from(n).unwrap_or(i64::MAX))));
        let after = (skip > 0).then(|| number.clone().gt(bound(skip)));
        let until = fetch.map(|fetch| number.lt_eq(bound(skip.saturating_add(fetch))));
        let plan = filtered(conjunction(after.into_iter().chain(until)), plan)?;
        let columns = columns.into_iter().chain(keys.iter().map(|(_, key)| Expr::Column(key.clone()))).collect();
        Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?), keys))
    }

    /// A window function that sees the rows of one key.
    fn by_key(&self, expr: Expr, keys: &Keys) -> Result<Expr> {
        let before = expr.clone();
        let changed = self
            .place(expr, keys)?
            .transform_up(|e| match e {
                Expr::WindowFunction(mut call) => {
                    let keys = keys.iter().map(|(_, key)| Expr::Column(key.clone()));
                    call.params.partition_by.extend(keys);
                    Ok(Transformed::new(Expr::WindowFunction(call), true, TreeNodeRecursion::Jump))
                }
                other => Ok(Transformed::no(other)),
            })
            .map(|t| t.data)?;
        let (qualifier, name) = before.qualified_name();
        Ok(changed.alias_qualified(qualifier, name))
    }

    fn union(&mut self, union: Union) -> Result<(LogicalPlan, Keys)> {
        let alias = self.names.name("key");
        let key = |index: usize| Column::new_unqualified(format!("{alias}_{index}"));
        let mut inputs = Vec::with_capacity(union.inputs.len());
        for input in union.inputs {
            let columns = input.schema().columns();
            let (plan, keys) = self.push(Arc::unwrap_or_clone(input))?;
            let columns = columns
                .into_iter()
                .map(Expr::Column)
                .chain(keys.iter().enumerate().map(|(i, (_, c))| Expr::Column(c.clone()).alias(key(i).name)))
                .collect();
            inputs.push(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)));
        }
        let Some(first) = inputs.first() else { return Err(unsupported("a union of nothing")) };
        let width = union.schema.fields().len();
        let keys_of_first = first.schema().iter().skip(width).map(|(q, f)| (q.cloned(), Arc::clone(f)));
        let fields = union.schema.iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).chain(keys_of_first).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?);
        let keys = self.parameters.iter().cloned().enumerate().map(|(i, p)| (p, key(i))).collect();
        Ok((LogicalPlan::Union(Union { inputs, schema }), keys))
    }

    fn join(&mut self, join: Join) -> Result<(LogicalPlan, Keys)> {
        let Join { left, right, on, filter, join_type, null_equality, null_aware, schema, .. } = join;
        let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
        if null_aware {
            return Err(unsupported("NOT IN below a subquery with columns of the query around it"));
        }
        let (in_left, in_right) = (self.refers(&left), self.refers(&right));
        let columns: Vec<Column> = left.schema().columns().into_iter().chain(right.schema().columns()).collect();
        // The side whose rows all come out has the keys of the result; an inner join may take either.
        let keys_of_right = match join_type {
            JoinType::Inner => !in_left && in_right,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => false,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => true,
            JoinType::Full => return Err(unsupported("a FULL JOIN of columns of the query around it")),
        };
        let (push_left, push_right) = (in_left || !keys_of_right, in_right || keys_of_right);
        let (left, left_keys) = if push_left { self.push(left)? } else { (left, Vec::new()) };
        let (right, right_keys) = if push_right { self.push(right)? } else { (right, Vec::new()) };
        let keys = if keys_of_right { right_keys.clone() } else { left_keys.clone() };
        let filter = filter.map(|f| self.place(f, &keys)).transpose()?;
        let mut pairs = Vec::with_capacity(on.len());
        for (l, r) in on {
            pairs.push((self.place(l, &keys)?, self.place(r, &keys)?));
        }
        if push_left && push_right {
            let both: Vec<_> = left_keys.iter().zip(&right_keys).map(|((_, l), (_, r))| (l, r)).collect();
            pairs.extend(met(&both, &left, &right)?);
        }
        let plan = joined(left, right, pairs, filter, join_type, null_equality)?;
        let own = plan.schema().columns();
        let mut kept: Vec<Expr> = columns.into_iter().filter(|c| own.contains(c)).map(Expr::Column).collect();
        if matches!(join_type, JoinType::LeftMark | JoinType::RightMark) {
            // The mark's name follows from the qualifiers of the other side.
            kept.extend(own.last().zip(schema.columns().pop()).map(|(mark, name)| called(mark.clone(), name)));
        }
        let columns = kept.into_iter().chain(keys.iter().map(|(_, key)| Expr::Column(key.clone()))).collect();
        Ok((LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?), keys))
    }
}

/// Column by column under another qualifier; the keys stay as they are.
pub(super) fn requalified(plan: LogicalPlan, alias: &TableReference, keys: &Keys) -> Result<LogicalPlan> {
    let is_key = |column: &Column| keys.iter().any(|(_, key)| key == column);
    let columns = plan
        .schema()
        .columns()
        .into_iter()
        .map(|column| {
            if is_key(&column) {
                return Expr::Column(column);
            }
            let name = column.name.clone();
            Expr::Column(column).alias_qualified(Some(alias.clone()), name)
        })
        .collect();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}

/// A column under a name.
fn called(column: Column, name: Column) -> Expr {
    if column == name { Expr::Column(column) } else { Expr::Column(column).alias_qualified(name.relation, name.name) }
}

fn cross(left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
    joined(left, right, Vec::new(), None, JoinType::Inner, NullEquality::NullEqualsNothing)
}

fn is_count(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_count(&alias.expr),
        Expr::AggregateFunction(call) => {
            let any: &dyn std::any::Any = call.func.inner().as_ref();
            any.downcast_ref::<AggregateFunction>().is_some_and(|f| f.kind == AggregateKind::Count)
        }
        _ => false,
    }
}

/// What a condition says a parameter is equal to, if it is of the rows below alone and of the same type.
fn equal_to(condition: &Expr, parameter: &Column, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let (field, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::OuterReferenceColumn(field, column), value) | (value, Expr::OuterReferenceColumn(field, column))
            if column == parameter =>
        {
            (field, value)
        }
        _ => return None,
    };
    let is_own = !value.contains_outer() && !value.column_refs().is_empty() && !value.is_volatile();
    (is_own && value.get_type(schema).ok()? == *field.data_type()).then(|| value.clone())
}
