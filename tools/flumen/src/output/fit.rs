//! Which columns of a box fit a terminal, and how wide they are.
//!
//! First the widest columns are narrowed, together, but not below [`NARROW`]; then columns leave from the middle, and one
//! narrow column stands for them. What is left is widened again as far as there is room.

/// Cells are not cut shorter than this as long as whole columns can be left out.
const NARROW: usize = 24;

/// The columns that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// Widths of the shown columns, from left to right.
    pub(super) widths: Vec<usize>,
    /// How many of them are the first columns; the rest are the last ones.
    pub(super) left: usize,
    /// Columns that are not shown.
    pub(super) hidden: usize,
}

/// Width of a box: cells with a blank on either side, and the lines between them.
fn total(widths: impl Iterator<Item = usize>) -> usize {
    1 + widths.map(|width| width + 3).sum::<usize>()
}

/// The widest cells for which all columns fit, if there are any not narrower than `least`.
fn cap(natural: &[usize], limit: usize, least: usize) -> Option<usize> {
    let fits = |cap: usize| total(natural.iter().map(|width| *width.min(&cap))) <= limit;
    let (mut low, mut high) = (least, natural.iter().copied().max().unwrap_or(0).max(least));
    if !fits(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

/// Fits columns of these widths into a limit.
pub(super) fn fit(natural: &[usize], limit: Option<usize>) -> Fit {
    let all = |cap: usize| Fit {
        widths: natural.iter().map(|width| *width.min(&cap)).collect(),
        left: natural.len(),
        hidden: 0,
    };
    let Some(limit) = limit else { return all(usize::MAX) };
    if let Some(cap) = cap(natural, limit, NARROW) {
        return all(cap);
    }
    for shown in (1..natural.len()).rev() {
        let left = shown.div_ceil(2);
        let kept = [&natural[..left], &natural[natural.len() - (shown - left)..]].concat();
        // The column that stands for the hidden ones takes four.
        let least = if shown == 1 { 1 } else { NARROW };
        if let Some(cap) = cap(&kept, limit.saturating_sub(4), least) {
            let widths = kept.iter().map(|width| *width.min(&cap)).collect();
            return Fit { widths, left, hidden: natural.len() - shown };
        }
    }
    // Not even one column fits as it is.
    let width = limit.saturating_sub(if natural.len() > 1 { 8 } else { 4 }).max(1);
    let widths = natural.first().map(|natural| *natural.min(&width)).into_iter().collect();
    Fit { widths, left: 1, hidden: natural.len().saturating_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(natural: &[usize], limit: usize, widths: &[usize], left: usize) {
        let fitted = fit(natural, Some(limit));
        assert_eq!((fitted.widths.as_slice(), fitted.left), (widths, left));
        assert_eq!(fitted.hidden, natural.len() - widths.len());
        let marker = if fitted.hidden > 0 { 4 } else { 0 };
        assert!(total(fitted.widths.iter().copied()) + marker <= limit.max(9), "{fitted:?} in {limit}");
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        check(&[5, 7], 19, &[5, 7], 2);
        assert_eq!(fit(&[500, 7], None).widths, [500, 7]);
        assert_eq!(fit(&[], Some(80)).hidden, 0);
    }

    #[test]
    fn wide_columns_are_narrowed_before_any_is_left_out() {
        check(&[5, 100, 90], 80, &[5, 32, 32], 3);
        check(&[5, 100], 80, &[5, 68], 2);
    }

    #[test]
    fn columns_leave_from_the_middle() {
        check(&[10; 12], 80, &[10; 5], 3);
        check(&[30, 30, 30, 30], 60, &[24, 24], 1);
    }

    #[test]
    fn one_column_is_cut_to_what_there_is() {
        check(&[200], 40, &[36], 1);
        check(&[200, 200, 200], 40, &[32], 1);
        check(&[200, 3], 5, &[1], 1);
    }
}
