//! A report as one page that needs nothing else: charts are drawn in it (SVG), colours follow the reader's choice of light
//! or dark, and every bar says its figure as text too.

use std::fmt::Write as _;

use super::report::{Measured, Report};

/// Sizes of a chart, in its own units.
const LABEL: f64 = 60.0;
const BARS: f64 = 640.0;
const FIGURE: f64 = 110.0;
const BAR: f64 = 10.0;
const ROW: f64 = 38.0;

const STYLE: &str = "\
:root { color-scheme: light dark; --text: #1b1f24; --faint: #6b7280; --line: #d7dbe0; --page: #fff; --cold: #b9c4d0; --hot: #2f6fde; --cpu: #d9822b }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --faint: #9aa3ad; --line: #363c44; --page: #15181c; --cold: #55606c; --hot: #6ea0ff; --cpu: #f0a35e } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .5rem; text-align: right }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
p, figcaption { color: var(--faint) } figure { margin: 1rem 0 }
svg { width: 100%; height: auto } svg text { fill: var(--text); font: 11px system-ui, sans-serif } svg .faint { fill: var(--faint) }
.cold { fill: var(--cold) } .hot { fill: var(--hot) } .cpu { fill: var(--cpu) } .key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em }
.key.cold { background: var(--cold) } .key.hot { background: var(--hot) } .key.cpu { background: var(--cpu) }";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let title = escaped(&report.title());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n{STYLE}\n</style>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escaped(&report.host.to_string())
    );
    for (key, value) in &report.settings {
        let _ = writeln!(page, "<p><code>{} = {}</code></p>", escaped(key), escaped(value));
    }
    for threads in report.threads() {
        let results: Vec<&Measured> = report.results.iter().filter(|result| result.threads == threads).collect();
        let plural = if threads == 1 { "" } else { "s" };
        let _ = write!(
            page,
            "<h2>{threads} thread{plural}</h2>\n<figure>\n{}<figcaption>Milliseconds:<span class=\"key cold\"></span>first run\
             <span class=\"key hot\"></span>median of the hot runs<span class=\"key cpu\"></span>their CPU time</figcaption>\n\
             </figure>\n{}",
            chart(&results),
            table(&results)
        );
    }
    let _ = write!(page, "<p>{}</p>\n</html>\n", escaped(&report.summary()).replace('\n', "<br>"));
    page
}

/// Three bars a query.
fn chart(results: &[&Measured]) -> String {
    let times = |result: &Measured| [("cold", result.cold_s), ("hot", result.hot_s), ("cpu", result.hot_cpu_s)];
    let longest = results.iter().flat_map(|result| times(result)).map(|(_, time)| time).fold(1e-9, f64::max);
    let height = ROW * results.len() as f64;
    let mut svg =
        format!("<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"times\">\n", LABEL + BARS + FIGURE);
    for (index, result) in results.iter().enumerate() {
        let top = ROW * index as f64;
        let _ = writeln!(svg, "<text x=\"0\" y=\"{}\">{}</text>", top + 2.0 * BAR, escaped(&result.query));
        if !result.outcome.counts() {
            let (x, y) = (LABEL, top + 2.0 * BAR);
            let _ = writeln!(svg, "<text class=\"faint\" x=\"{x}\" y=\"{y}\">{}</text>", result.outcome.text());
            continue;
        }
        for (bar, (class, time)) in times(result).into_iter().enumerate() {
            let (y, width) = (top + BAR * bar as f64, time / longest * BARS);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{LABEL}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\"><title>{} {class}: {:.1} ms</title></rect>\
                 <text class=\"faint\" x=\"{:.2}\" y=\"{}\">{:.1}</text>",
                BAR - 1.0,
                escaped(&result.query),
                time * 1e3,
                LABEL + width + 4.0,
                y + BAR - 1.0,
                time * 1e3,
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn table(results: &[&Measured]) -> String {
    let mut table = String::from(
        "<table>\n<tr><th>query</th><th>rows</th><th>cold ms</th><th>hot ms</th><th>hot CPU ms</th><th>peak MiB</th><th>answer</th></tr>\n",
    );
    for result in results {
        let time =
            |seconds: f64| if result.outcome.counts() { format!("{:.1}", seconds * 1e3) } else { "-".to_owned() };
        let why = result.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
        let _ = writeln!(
            table,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td><td>{}{}</td></tr>",
            escaped(&result.query),
            result.rows,
            time(result.cold_s),
            time(result.hot_s),
            time(result.hot_cpu_s),
            result.peak_memory_mib,
            result.outcome.text(),
            escaped(&why)
        );
    }
    table.push_str("</table>\n");
    table
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_page_stands_alone_and_shows_every_query() {
        let page = page(&report(100.0));
        for outside in ["http://", "https://", "src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        // Two queries with times, three bars each, at two numbers of threads.
        assert_eq!(page.matches("<rect").count(), 12);
        assert_eq!(page.matches("<tr><td>").count(), 8);
        assert!(page.contains("not supported yet: &lt;a|b&gt; &amp; c") && page.contains("WRONG: 3 rows instead of 4"));
        // The longest bar, the cold run of 500 ms, takes all the room; the hot one a fifth.
        assert!(page.contains("width=\"640.00\"") && page.contains("width=\"128.00\""));
        assert!(page.contains("<title>q1 hot: 100.0 ms</title>"));
    }
}
