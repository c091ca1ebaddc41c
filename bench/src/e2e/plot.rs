//! A bar chart of a run, as SVG.

use std::fmt::Write;

use super::run::Row;
use super::scenario::Kind;

const BAR: usize = 18;
const LEFT: usize = 340;
const WIDTH: usize = 420;

/// One group of bars a scenario, the longest bar of a group as long as the room; figures beside the bars.
pub fn svg(rows: &[Row], title: &str) -> String {
    let mut text = String::new();
    let height = rows.len() * (BAR + 6) + 60;
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><text x=\"8\" y=\"20\" font-size=\"14\">{}</text>",
        LEFT + WIDTH + 180,
        escape(title)
    );
    for (line, row) in rows.iter().enumerate() {
        let Ok(outcome) = &row.outcome else { continue };
        let group = rows.iter().filter(|other| other.scenario.name == row.scenario.name);
        let most = group.filter_map(|other| Some(other.outcome.as_ref().ok()?.median)).fold(0.0, f64::max);
        let length = if most > 0.0 { outcome.median / most * WIDTH as f64 } else { 0.0 };
        let (y, colour) = (40 + line * (BAR + 6), if row.switch == "weir" { "#2a6f97" } else { "#adb5bd" });
        let figure = match row.scenario.kind {
            Kind::Latency | Kind::Change => format!("{:.1} µs", outcome.median / 1e3),
            Kind::Stream | Kind::Capture => format!("{:.2} Gbit/s", outcome.median / 1e9),
            Kind::Mix => format!("{:.2} % of the host", outcome.median),
            Kind::Idle => format!("{:.2} %", outcome.median),
            Kind::BackToBack => format!("{:.0} frames", outcome.median),
            Kind::Addresses => format!("{:.0} addresses", outcome.median),
            Kind::Rate | Kind::NoLoss | Kind::NewFlows | Kind::Bursts => format!("{:.2} Mpps", outcome.median / 1e6),
        };
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} {}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\">{figure}</text>",
            LEFT - 8,
            y + BAR - 5,
            escape(&row.scenario.name),
            row.switch,
            LEFT as f64 + length + 6.0,
            y + BAR - 5
        );
    }
    text.push_str("</svg>\n");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
