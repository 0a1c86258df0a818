//! Line charts as SVG, written by hand: no script, nothing loaded, and colours from the page's
//! style sheet, so that a chart follows the reader's light or dark theme.

use std::borrow::Cow;
use std::fmt::Write;

use super::html::escape;
use super::scale::{Unit, number, range, tick_step, ticks, value};

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// One point: where on the x axis, how high, and how far its confidence interval reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) half_width: f64,
}

/// A chart: lines over one x axis.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: Cow<'static, str>,
    /// What a person should see in it.
    pub(super) note: Cow<'static, str>,
    pub(super) x_label: Cow<'static, str>,
    pub(super) y_label: Cow<'static, str>,
    pub(super) unit: Unit,
    /// Whether x is the power of two that is meant.
    pub(super) x_powers: bool,
    /// Whether the y axis begins at 0 even if no value is near.
    pub(super) from_zero: bool,
    pub(super) series: Vec<Series>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Colours in the style sheet.
const COLOURS: usize = 6;
/// Lines with fewer points are drawn as they are, with a dot for each point.
const SMOOTHED_FROM: usize = 24;

/// The chart as a `figure` of the page; nothing if it has no points.
pub(super) fn render(chart: &Chart) -> String {
    let Some(drawing) = drawing(chart) else { return String::new() };
    let mut figure = format!("<figure><figcaption><b>{}</b>", escape(&chart.title));
    if !chart.note.is_empty() {
        let _ = write!(figure, "<span>{}</span>", escape(&chart.note));
    }
    let _ = write!(
        figure,
        "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{drawing}</svg>",
        label(chart)
    );
    legend(&mut figure, chart);
    figure.push_str("</figure>\n");
    figure
}

/// The chart as a file of its own, with its title, legend and colours.
pub(super) fn standalone(chart: &Chart) -> String {
    const HEAD: f64 = 30.0;
    const ROW: f64 = 16.0;
    let drawing = drawing(chart).unwrap_or_default();
    let height = HEAD + HEIGHT + ROW * chart.series.len() as f64 + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\"><style>{STYLE}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>\
         <text class=\"title\" x=\"{LEFT}\" y=\"20\">{}</text><g transform=\"translate(0 {HEAD})\">{drawing}</g>",
        label(chart),
        escape(&chart.title)
    );
    for (index, series) in chart.series.iter().enumerate() {
        let y = HEAD + HEIGHT + ROW * index as f64 + 4.0;
        let colour = index % COLOURS + 1;
        let last = smoothed(&series.points).last().map_or_else(String::new, |point| value(point.y, chart.unit));
        let _ = write!(
            svg,
            "<path class=\"line c{colour}\" d=\"M{LEFT} {y:.1}h16\"/><text x=\"{}\" y=\"{:.1}\">{} {last}</text>",
            LEFT + 24.0,
            y + 4.0,
            escape(&series.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The page's style sheet, as far as a chart needs it.
const STYLE: &str = ".paper{fill:#fff}text{font:11px system-ui,sans-serif;fill:#5d6673}.title{font-weight:600;font-size:13px;\
    fill:#1d2127}.grid{stroke:#eceae4}.axis{stroke:#5d6673;stroke-opacity:.6}.raw,.line{fill:none;stroke:currentColor;\
    stroke-linejoin:round;stroke-linecap:round}.raw{stroke-width:1;stroke-opacity:.28}.line{stroke-width:2}\
    .reach{stroke:currentColor;stroke-width:1.4;stroke-opacity:.55}.dot{fill:currentColor}.c1{color:#2459c4}\
    .c2{color:#d2600f}.c3{color:#1f8a58}.c4{color:#9440b0}.c5{color:#b3860b}.c6{color:#5d6673}";

fn label(chart: &Chart) -> String {
    escape(&format!("{}: {} over {}", chart.title, chart.y_label, chart.x_label))
}

/// Axes and lines; nothing if there are no points.
fn drawing(chart: &Chart) -> Option<String> {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x_range = range(points().map(|point| point.x))?;
    let reach = points().flat_map(|point| [point.y - point.half_width, point.y + point.half_width]);
    let (mut low, mut high) = range(reach)?;
    if chart.from_zero {
        low = low.min(0.0);
        high = high.max(0.0);
    }
    if high - low < 1e-12 {
        let margin = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
        high += margin;
        low -= if chart.from_zero && low >= 0.0 { low } else { margin };
    }
    let y_ticks = ticks(low, high, 5);
    let (low, high) = (low.min(y_ticks[0]), high.max(y_ticks[y_ticks.len() - 1]));
    let frame = Frame { x: x_range, y: (low, high) };

    let mut svg = String::new();
    axes(&mut svg, chart, &frame, &y_ticks);
    for (index, series) in chart.series.iter().enumerate() {
        line(&mut svg, series, index % COLOURS + 1, &frame);
    }
    Some(svg)
}

/// The part of the plane that a chart shows.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn place_x(&self, x: f64) -> f64 {
        let width = self.x.1 - self.x.0;
        let share = if width > 0.0 { (x - self.x.0) / width } else { 0.5 };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn place_y(&self, y: f64) -> f64 {
        let share = (y - self.y.0) / (self.y.1 - self.y.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

fn axes(svg: &mut String, chart: &Chart, frame: &Frame, y_ticks: &[f64]) {
    let step = tick_step(y_ticks);
    for &tick in y_ticks {
        let y = frame.place_y(tick);
        let right = WIDTH - RIGHT;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 7.0,
            y + 3.6,
            number(tick, step, chart.unit)
        );
    }
    let x_ticks = if chart.x_powers {
        // Whole powers only.
        (0..64).map(f64::from).collect()
    } else {
        ticks(frame.x.0, frame.x.1, 6)
    };
    let step = tick_step(&x_ticks);
    let written = |tick: f64| if chart.x_powers { tick.exp2().to_string() } else { number(tick, step, Unit::Number) };
    for &tick in x_ticks.iter().filter(|&&tick| tick >= frame.x.0 && tick <= frame.x.1) {
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            frame.place_x(tick),
            HEIGHT - BOTTOM + 16.0,
            written(tick)
        );
    }
    let base = HEIGHT - BOTTOM;
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/>\
         <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"label\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        WIDTH - RIGHT,
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 7.0,
        escape(&chart.x_label),
        f64::midpoint(TOP, base),
        escape(&chart.y_label)
    );
}

fn line(svg: &mut String, series: &Series, colour: usize, frame: &Frame) {
    let points: Vec<Point> = series.points.iter().copied().filter(|point| point.y.is_finite()).collect();
    let few = points.len() < SMOOTHED_FROM;
    let class = if few { "line" } else { "raw" };
    path(svg, &points, &format!("{class} c{colour}"), frame);
    if !few {
        path(svg, &smoothed(&points), &format!("line c{colour}"), frame);
    }
    for point in &points {
        let (x, y) = (frame.place_x(point.x), frame.place_y(point.y));
        if point.half_width > 0.0 {
            let _ = write!(
                svg,
                "<line class=\"reach c{colour}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                frame.place_y(point.y - point.half_width),
                frame.place_y(point.y + point.half_width)
            );
        }
        if few {
            let _ = write!(svg, "<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>");
        }
    }
}

fn path(svg: &mut String, points: &[Point], class: &str, frame: &Frame) {
    let _ = write!(svg, "<path class=\"{class}\" d=\"");
    for (index, point) in points.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        let _ = write!(svg, "{command}{:.1} {:.1}", frame.place_x(point.x), frame.place_y(point.y));
    }
    svg.push_str("\"/>");
}

fn legend(figure: &mut String, chart: &Chart) {
    let alone = chart.series.len() == 1;
    figure.push_str("<p class=\"legend\">");
    for (index, series) in chart.series.iter().enumerate() {
        let Some(last) = smoothed(&series.points).last().map(|point| point.y) else { continue };
        let name = if alone { "at the end" } else { &series.name };
        let _ = write!(
            figure,
            "<span><i class=\"c{}\"></i>{} <em>{}</em></span>",
            index % COLOURS + 1,
            escape(name),
            value(last, chart.unit)
        );
    }
    figure.push_str("</p>");
}

/// An exponential moving average over about a twentieth of the points. The first value begins it, so
/// it lags a little, and shows nothing that has not happened yet.
fn smoothed(points: &[Point]) -> Vec<Point> {
    if points.len() < SMOOTHED_FROM {
        return points.to_vec();
    }
    #[allow(clippy::cast_precision_loss)]
    let window = (points.len() as f64 / 20.0).max(2.0);
    let weight = 2.0 / (window + 1.0);
    let mut average = points[0].y;
    points
        .iter()
        .map(|&point| {
            average += weight * (point.y - average);
            Point { y: average, ..point }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_leaves_out_what_is_no_number() {
        let point = |x: f64, y: f64| Point { x, y, half_width: 0.0 };
        let chart = Chart {
            title: "A <b>".into(),
            note: "".into(),
            x_label: "step".into(),
            y_label: "y".into(),
            unit: Unit::Number,
            x_powers: false,
            from_zero: true,
            series: vec![Series {
                name: "s".to_owned(),
                points: vec![point(1.0, 2.0), point(2.0, f64::NAN), point(3.0, 4.0)],
            }],
        };
        let text = render(&chart);
        assert!(text.contains("A &lt;b&gt;") && !text.contains("<b>\""), "{text}");
        assert!(!text.contains("NaN"), "{text}");
        assert_eq!(text.matches("<circle").count(), 2);
        let file = standalone(&chart);
        assert!(file.starts_with("<svg xmlns") && file.contains("A &lt;b&gt;") && file.contains(">s 4.000<"), "{file}");
        assert_eq!(render(&Chart { series: Vec::new(), ..chart }), "");
    }
}
