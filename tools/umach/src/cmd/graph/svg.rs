//! The graph as an SVG image.
//!
//! `layout-rs` places nodes in layers and leads the arrows round them: pure Rust without dependencies, it lays out cyclic graphs, and takes a drawing
//! backend of one's own, so that fonts, tooltips and sizes are ours. (`dagre` and `graphviz` bindings need a JavaScript engine or C; `ascii-dag` draws
//! text only.)

use std::collections::BTreeMap;
use std::fmt::Write as _;

use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::format::{ClipHandle, RenderBackend};
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow as Line, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;

use super::picture::{Arrow, Key, Picture};

const FONT: usize = 13;
/// Width of a character of that size, generously.
const CHARACTER: f64 = 7.6;
const MARGIN: f64 = 24.0;

/// Colour, width, dashed.
fn style(arrow: Arrow) -> (&'static str, usize, LineStyleKind) {
    match arrow {
        Arrow::Receives => ("#333333ff", 3, LineStyleKind::Normal),
        Arrow::Controls => ("#b00020ff", 2, LineStyleKind::Normal),
        Arrow::Direct => ("#1565c0ff", 2, LineStyleKind::Normal),
        Arrow::Send => ("#666666ff", 1, LineStyleKind::Normal),
        Arrow::Once => ("#666666ff", 1, LineStyleKind::Dashed),
        Arrow::InMessage => ("#e08000ff", 2, LineStyleKind::Dashed),
    }
}

fn color(web: &str) -> Color {
    Color::new(u32::from_str_radix(web.trim_start_matches('#'), 16).unwrap_or(0xff))
}

/// Draws it.
pub(super) fn to_svg(picture: &Picture) -> String {
    let mut graph = VisualGraph::new(Orientation::LeftToRight);
    let mut handles = BTreeMap::new();
    for (key, lines) in &picture.nodes {
        let text = lines.join("\n");
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(1) as f64;
        let (shape, fill, rounded, padding) = match key {
            Key::Task(_) => (ShapeKind::new_box(&text), "#eeeeffff", 8, 22.0),
            Key::Port(_) => (ShapeKind::new_circle(&text), "#fff8e0ff", 0, 44.0),
        };
        let look = StyleAttr::new(color("#666699ff"), 1, Some(color(fill)), rounded, FONT);
        let height = lines.len() as f64 * 18.0 + if matches!(key, Key::Port(_)) { 24.0 } else { 18.0 };
        let size = Point::new(longest * CHARACTER + padding, height);
        handles.insert(*key, graph.add_node(Element::create(shape, look, Orientation::LeftToRight, size)));
    }
    for ((from, to), arrow) in &picture.arrows {
        let (web, width, dash) = style(*arrow);
        let look = StyleAttr::new(color(web), width, None, 0, FONT);
        let line = Line::new(LineEndKind::None, LineEndKind::Arrow, dash, "", &look, &None, &None);
        graph.add_edge(line, handles[from], handles[to]);
    }
    let mut canvas = Canvas::default();
    if !picture.nodes.is_empty() {
        graph.do_it(false, false, false, &mut canvas);
    }
    canvas.finish()
}

#[derive(Default)]
struct Canvas {
    body: String,
    /// Written behind everything else.
    lines: String,
    width: f64,
    height: f64,
}

const LEGEND: [(Arrow, &str); 6] = [
    (Arrow::Receives, "port → task that receives on it"),
    (Arrow::Send, "task → port: a send right"),
    (Arrow::Direct, "the same, directly over a link"),
    (Arrow::Once, "a send-once right"),
    (Arrow::Controls, "a task's control right"),
    (Arrow::InMessage, "a right in a queued message"),
];

impl Canvas {
    fn grow(&mut self, point: Point) {
        self.width = self.width.max(point.x);
        self.height = self.height.max(point.y);
    }
    fn line(&mut self, path: &str, arrow_color: &str, width: usize, dashed: bool, heads: (bool, bool)) {
        let dash = if dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let head = match heads {
            (_, true) => " marker-end=\"url(#tip)\"",
            // An arrow that the layout has turned round.
            (true, false) => " marker-start=\"url(#tail)\"",
            (false, false) => "",
        };
        let _ = writeln!(self.lines, "<path d=\"{path}\" fill=\"none\" stroke=\"{arrow_color}\" stroke-width=\"{width}\"{dash}{head}/>");
    }
    fn finish(mut self) -> String {
        let top = self.height + MARGIN;
        for (number, (arrow, words)) in LEGEND.iter().enumerate() {
            let (x, y) = (10.0 + (number % 3) as f64 * 280.0, top + (number / 3) as f64 * 22.0 + 10.0);
            let (web, width, dash) = style(*arrow);
            let path = format!("M {x:.0} {y:.0} L {:.0} {y:.0}", x + 34.0);
            self.line(&path, &color(web).to_web_color()[..7], width, matches!(dash, LineStyleKind::Dashed), (false, true));
            let _ = writeln!(self.body, "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"#444\">{words}</text>", x + 44.0, y + 4.0);
        }
        let (width, height) = (self.width.max(840.0) + MARGIN, top + 54.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"{FONT}\">\n<defs><marker id=\"tip\" markerWidth=\"10\" markerHeight=\"8\" refX=\"9\" refY=\"4\" \
             orient=\"auto\" markerUnits=\"userSpaceOnUse\"><path d=\"M0 0L10 4L0 8z\" fill=\"#333\"/></marker>\n\
             <marker id=\"tail\" markerWidth=\"10\" markerHeight=\"8\" refX=\"1\" refY=\"4\" orient=\"auto\" \
             markerUnits=\"userSpaceOnUse\"><path d=\"M10 0L0 4L10 8z\" fill=\"#333\"/></marker></defs>\n\
             <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"white\"/>\n{}{}</svg>\n",
            self.lines, self.body
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl RenderBackend for Canvas {
    fn draw_rect(&mut self, xy: Point, size: Point, look: &StyleAttr, _properties: Option<String>, _clip: Option<ClipHandle>) {
        self.grow(Point::new(xy.x + size.x, xy.y + size.y));
        let _ = writeln!(
            self.body,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{}\" fill=\"{}\" stroke=\"{}\"/>",
            xy.x,
            xy.y,
            size.x,
            size.y,
            look.rounded,
            &look.fill_color.unwrap_or_else(Color::transparent).to_web_color()[..7],
            &look.line_color.to_web_color()[..7]
        );
    }
    fn draw_line(&mut self, start: Point, stop: Point, look: &StyleAttr, _properties: Option<String>) {
        self.grow(start);
        self.grow(stop);
        let path = format!("M {:.1} {:.1} L {:.1} {:.1}", start.x, start.y, stop.x, stop.y);
        self.line(&path, &look.line_color.to_web_color()[..7], look.line_width, false, (false, false));
    }
    fn draw_circle(&mut self, xy: Point, size: Point, look: &StyleAttr, _properties: Option<String>) {
        self.grow(Point::new(xy.x + size.x / 2.0, xy.y + size.y / 2.0));
        let _ = writeln!(
            self.body,
            "<ellipse cx=\"{:.1}\" cy=\"{:.1}\" rx=\"{:.1}\" ry=\"{:.1}\" fill=\"{}\" stroke=\"#aa8833\"/>",
            xy.x,
            xy.y,
            size.x / 2.0,
            size.y / 2.0,
            &look.fill_color.unwrap_or_else(Color::transparent).to_web_color()[..7],
        );
    }
    fn draw_text(&mut self, xy: Point, text: &str, _look: &StyleAttr) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let y = xy.y + (number as f64 - (lines.len() as f64 - 1.0) / 2.0) * 17.0 + 4.5;
            let weight = if number == 0 { " font-weight=\"bold\"" } else { " fill=\"#555\"" };
            let _ = writeln!(self.body, "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\"{weight}>{}</text>", xy.x, escaped(line));
        }
    }
    fn draw_arrow(
        &mut self,
        path: &[(Point, Point)],
        dashed: bool,
        head: (bool, bool),
        look: &StyleAttr,
        _properties: Option<String>,
        _text: &str,
    ) {
        let [(start, exit), (entry, second), rest @ ..] = path else { return };
        let mut curve = format!(
            "M {:.1} {:.1} C {:.1} {:.1}, {:.1} {:.1}, {:.1} {:.1}",
            start.x, start.y, exit.x, exit.y, entry.x, entry.y, second.x, second.y
        );
        for (control, point) in rest {
            let _ = write!(curve, " S {:.1} {:.1}, {:.1} {:.1}", control.x, control.y, point.x, point.y);
        }
        path.iter().for_each(|(one, other)| {
            self.grow(*one);
            self.grow(*other);
        });
        self.line(&curve, &look.line_color.to_web_color()[..7], look.line_width, dashed, head);
    }
    fn create_clip(&mut self, _xy: Point, _size: Point, _rounded_px: usize) -> ClipHandle {
        0
    }
}
