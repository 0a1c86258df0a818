//! Line charts as SVG, written by hand: no script, nothing loaded, and colours from the page's
//! style sheet, so that a chart follows the reader's light or dark theme.

use std::borrow::Cow;
use std::fmt::Write;

use super::html::{escape, shortened};
use super::scale::{Unit, number, range, tick_step, ticks, value, whole_ticks};

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    /// After which x another stage begins: what is before it has no part in the averages behind it.
    pub(super) breaks: Vec<f64>,
}

impl Series {
    /// Whether a point is the first one of another stage than the point before it.
    fn begins_anew(&self, before: f64, x: f64) -> bool {
        self.breaks.iter().any(|at| before <= *at && *at < x)
    }
}

/// Where a stage begins: after which x, and its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) after: f64,
    pub(super) name: String,
}

/// One point: where on the x axis, how high, and how far its confidence interval reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) half_width: f64,
}

impl Point {
    /// From where to where the interval reaches. No share lies below 0 or above 1.
    fn reach(&self, unit: Unit) -> (f64, f64) {
        let (low, high) = (self.y - self.half_width, self.y + self.half_width);
        match unit {
            Unit::Share => (low.max(0.0).min(self.y), high.min(1.0).max(self.y)),
            Unit::Number => (low, high),
        }
    }
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
    /// Dashed lines, where there are several stages.
    pub(super) marks: Vec<Mark>,
    /// Whether lines are drawn through from stage to stage.
    pub(super) joined: bool,
    pub(super) series: Vec<Series>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
/// Where the x axis begins, unless the numbers beside it are long.
const LEFT: f64 = 52.0;
/// What the y axis's name and the gap before the axis take of that.
const BESIDE_NUMBERS: f64 = 25.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Colours in the style sheet.
const COLOURS: usize = 6;
/// How wide a letter is, about.
const LETTER: f64 = 6.2;
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
        let last = smoothed(series).last().map_or_else(String::new, |point| value(point.y, chart.unit));
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
    fill:#1d2127}.grid{stroke:#eceae4}.axis{stroke:#5d6673;stroke-opacity:.6}\
    .mark{stroke:#5d6673;stroke-opacity:.6;stroke-dasharray:3 3}.raw,.line{fill:none;stroke:currentColor;\
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
    let reach = points().map(|point| point.reach(chart.unit)).flat_map(|(low, high)| [low, high]);
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
    let step = tick_step(&y_ticks);
    let y_numbers: Vec<String> = y_ticks.iter().map(|tick| number(*tick, step, chart.unit)).collect();
    let longest = y_numbers.iter().map(|number| number.chars().count()).max().unwrap_or(0);
    let left = LEFT.max(BESIDE_NUMBERS + LETTER * longest as f64);
    let frame = Frame { left, x: x_range, y: (low, high) };

    let mut svg = String::new();
    axes(&mut svg, chart, &frame, y_ticks.iter().zip(&y_numbers));
    marks(&mut svg, &chart.marks, &frame);
    for (index, series) in chart.series.iter().enumerate() {
        line(&mut svg, chart, series, index % COLOURS + 1, &frame);
    }
    Some(svg)
}

/// The part of the plane that a chart shows.
struct Frame {
    /// Where the x axis begins.
    left: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn place_x(&self, x: f64) -> f64 {
        let width = self.x.1 - self.x.0;
        let share = if width > 0.0 { (x - self.x.0) / width } else { 0.5 };
        self.left + share * (WIDTH - self.left - RIGHT)
    }

    fn place_y(&self, y: f64) -> f64 {
        let share = (y - self.y.0) / (self.y.1 - self.y.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// The axes; `y_ticks` with their numbers.
fn axes<'t>(svg: &mut String, chart: &Chart, frame: &Frame, y_ticks: impl Iterator<Item = (&'t f64, &'t String)>) {
    let left = frame.left;
    for (tick, number) in y_ticks {
        let y = frame.place_y(*tick);
        let right = WIDTH - RIGHT;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{number}</text>",
            left - 7.0,
            y + 3.6
        );
    }
    let x_ticks = if chart.x_powers {
        // Whole powers only.
        (0..64).map(f64::from).collect()
    } else {
        whole_ticks(frame.x.0, frame.x.1, 6)
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
        "<line class=\"axis\" x1=\"{left:.1}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/>\
         <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"label\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        WIDTH - RIGHT,
        f64::midpoint(left, WIDTH - RIGHT),
        HEIGHT - 7.0,
        escape(&chart.x_label),
        f64::midpoint(TOP, base),
        escape(&chart.y_label)
    );
}

/// A dashed line where each stage begins, and the stage's name above it, as far as there is room up to the next one.
fn marks(svg: &mut String, marks: &[Mark], frame: &Frame) {
    // Between the last step of one stage and the first of the next; the first step itself is the left edge.
    let places: Vec<f64> = marks.iter().map(|mark| frame.place_x((mark.after + 0.5).max(frame.x.0))).collect();
    let ends = places.iter().skip(1).copied().chain([WIDTH]);
    for ((mark, x), end) in marks.iter().zip(&places).zip(ends) {
        let _ = write!(svg, "<g><title>{}</title>", escape(&mark.name));
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            TOP - 10.0,
            HEIGHT - BOTTOM
        );
        let letters = ((end - x - 6.0) / LETTER).max(0.0) as usize;
        if letters > 1 {
            let name = if mark.name.chars().count() > letters { letters - 1 } else { letters };
            let name = escape(&shortened(&mark.name, name));
            let _ = write!(svg, "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>", x + 4.0, TOP - 3.0);
        }
        svg.push_str("</g>");
    }
}

fn line(svg: &mut String, chart: &Chart, series: &Series, colour: usize, frame: &Frame) {
    let points = series.points.iter().copied().filter(|point| point.y.is_finite()).collect();
    let series = &Series { points, ..series.clone() };
    let points = &series.points;
    let few = points.len() < SMOOTHED_FROM;
    let class = if few { "line" } else { "raw" };
    let begins = |before: f64, x: f64| !chart.joined && series.begins_anew(before, x);
    path(svg, points, &format!("{class} c{colour}"), frame, begins);
    if !few {
        path(svg, &smoothed(series), &format!("line c{colour}"), frame, begins);
    }
    for point in points {
        let (x, y) = (frame.place_x(point.x), frame.place_y(point.y));
        if point.half_width > 0.0 {
            let (low, high) = point.reach(chart.unit);
            let _ = write!(
                svg,
                "<line class=\"reach c{colour}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                frame.place_y(low),
                frame.place_y(high)
            );
        }
        if few {
            let _ = write!(svg, "<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>");
        }
    }
}

/// A line through the points, which breaks where `begins` says so of the x of two that follow each other.
fn path(svg: &mut String, points: &[Point], class: &str, frame: &Frame, begins: impl Fn(f64, f64) -> bool) {
    let _ = write!(svg, "<path class=\"{class}\" d=\"");
    for (index, point) in points.iter().enumerate() {
        let (x, y) = (frame.place_x(point.x), frame.place_y(point.y));
        let _ = match index.checked_sub(1).map(|before| begins(points[before].x, point.x)) {
            None => write!(svg, "M{x:.1} {y:.1}"),
            // A line of no length: a stage of a single step is seen too.
            Some(true) => write!(svg, "M{x:.1} {y:.1}h0"),
            Some(false) => write!(svg, "L{x:.1} {y:.1}"),
        };
    }
    svg.push_str("\"/>");
}

fn legend(figure: &mut String, chart: &Chart) {
    let alone = chart.series.len() == 1;
    figure.push_str("<p class=\"legend\">");
    for (index, series) in chart.series.iter().enumerate() {
        let Some(last) = smoothed(series).last().map(|point| point.y) else { continue };
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

/// An exponential moving average over about a twentieth of the points. The first value of each stage begins it, so
/// it lags a little, and shows nothing that has not happened yet.
fn smoothed(series: &Series) -> Vec<Point> {
    let points = &series.points;
    if points.len() < SMOOTHED_FROM {
        return points.clone();
    }
    let window = (points.len() as f64 / 20.0).max(2.0);
    let weight = 2.0 / (window + 1.0);
    let mut last = points[0];
    let mut average = last.y;
    points
        .iter()
        .map(|&point| {
            let gone = if series.begins_anew(last.x, point.x) { 1.0 } else { weight };
            last = point;
            average += gone * (point.y - average);
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
        let points = vec![point(1.0, 2.0), point(2.0, f64::NAN), point(3.0, 4.0)];
        let series = vec![Series { name: "s".to_owned(), points, breaks: Vec::new() }];
        let chart = Chart { title: "A <b>".into(), marks: Vec::new(), series, ..of_stages(false) };
        let text = render(&chart);
        assert!(text.contains("A &lt;b&gt;") && !text.contains("<b>\""), "{text}");
        assert!(!text.contains("NaN"), "{text}");
        assert_eq!(text.matches("<circle").count(), 2);
        let file = standalone(&chart);
        assert!(file.starts_with("<svg xmlns") && file.contains("A &lt;b&gt;") && file.contains(">s 4.000<"), "{file}");
        assert_eq!(render(&Chart { series: Vec::new(), ..chart }), "");
    }

    /// The numbers along the y axis, each with where it ends.
    fn y_numbers(svg: &str) -> Vec<(&str, f64)> {
        let ticks = svg.split("<text class=\"tick\"").skip(1).filter(|text| text.contains("text-anchor=\"end\""));
        ticks
            .map(|tick| {
                let end = tick.strip_prefix(" x=\"").unwrap().split_once('"').unwrap().0.parse().unwrap();
                (tick.split_once('>').unwrap().1.split_once('<').unwrap().0, end)
            })
            .collect()
    }

    /// One line through these points.
    fn of_points(unit: Unit, points: &[(f64, f64, f64)]) -> Chart {
        let points = points.iter().map(|&(x, y, half_width)| Point { x, y, half_width }).collect();
        let series = vec![Series { name: "s".to_owned(), points, breaks: Vec::new() }];
        Chart { unit, marks: Vec::new(), series, ..of_stages(false) }
    }

    #[test]
    fn no_bar_of_a_share_leaves_what_shares_can_be() {
        #[track_caller]
        fn check(unit: Unit, y: f64, expected: &[&str]) {
            let text = render(&of_points(unit, &[(0.0, y, 0.39), (1.0, 0.5, 0.0)]));
            let found: Vec<&str> = y_numbers(&text).into_iter().map(|(number, _)| number).collect();
            assert_eq!(found, expected);
            assert_eq!(text.matches("class=\"reach").count(), 1, "{text}");
        }
        check(Unit::Share, 0.0, &["0%", "10%", "20%", "30%", "40%", "50%"]);
        check(Unit::Share, 1.0, &["0%", "20%", "40%", "60%", "80%", "100%"]);
        check(Unit::Number, 0.0, &["-0.4", "-0.2", "0", "0.2", "0.4", "0.6"]);
    }

    #[test]
    fn numbers_leave_room_for_the_name_of_the_axis() {
        #[track_caller]
        fn check(y: f64, expected: &str) {
            let text = render(&of_points(Unit::Number, &[(0.0, 0.0, 0.0), (1.0, y, 0.0)]));
            let numbers = y_numbers(&text);
            assert!(numbers.iter().any(|(number, _)| *number == expected), "{numbers:?}");
            // The name's letters stand on 12 and reach a little below it.
            let begins = numbers.iter().map(|(number, end)| end - LETTER * number.chars().count() as f64);
            assert!(begins.fold(WIDTH, f64::min) >= 16.0, "{numbers:?}");
        }
        check(1.0, "0.2");
        check(0.03, "0.03");
        check(0.0012, "0.0010");
        check(2e-6, "1.5e-6");
    }

    #[test]
    fn a_short_run_has_no_half_steps() {
        let text = render(&of_points(Unit::Number, &[(1.0, 0.0, 0.0), (2.0, 1.0, 0.0)]));
        assert!(text.contains(">1</text>") && text.contains(">2</text>") && !text.contains(">1.5</text>"), "{text}");
    }

    /// 30 steps at 1, then 30 at 3, then one at 2.
    fn of_stages(joined: bool) -> Chart {
        let points = (1..=61).map(|step| Point {
            x: f64::from(step),
            y: if step > 60 { 2.0 } else { [1.0, 3.0][usize::from(step > 30)] },
            half_width: 0.0,
        });
        let marks = [(0.0, "zero"), (30.0, "a<b"), (60.0, "short")];
        Chart {
            title: "T".into(),
            note: "".into(),
            x_label: "step".into(),
            y_label: "y".into(),
            unit: Unit::Number,
            x_powers: false,
            from_zero: true,
            marks: marks.map(|(after, name)| Mark { after, name: name.to_owned() }).into(),
            joined,
            series: vec![Series { name: "s".to_owned(), points: points.collect(), breaks: vec![0.0, 30.0, 60.0] }],
        }
    }

    #[test]
    fn a_line_breaks_between_stages_and_is_smoothed_within_each() {
        let chart = of_stages(false);
        let smooth: Vec<f64> = smoothed(&chart.series[0]).iter().map(|point| point.y).collect();
        let expected: Vec<f64> = chart.series[0].points.iter().map(|point| point.y).collect();
        for (smooth, expected) in smooth.iter().zip(&expected) {
            assert!((smooth - expected).abs() < 1e-12, "nothing of the stage before is left: {smooth} {expected}");
        }
        let text = render(&chart);
        // The faint line and the strong one, each of three pieces.
        assert_eq!((text.matches('M').count(), text.matches("h0").count()), (6, 4), "{text}");
        assert_eq!(text.matches("class=\"mark\"").count(), 3);
        assert!(text.contains(">zero</text>") && text.contains(">a&lt;b</text>"), "{text}");
        // No room for a name; what it is is told on pointing at it.
        assert!(!text.contains(">short</text>") && text.contains("<title>short</title>"), "{text}");
        assert!(standalone(&chart).contains(".mark{") && standalone(&chart).contains("class=\"mark\""));
        assert_eq!(render(&of_stages(true)).matches('M').count(), 2, "joined, they are drawn through");
    }
}
