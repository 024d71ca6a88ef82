//! Pictures as SVG text.

use espalier_target::DesignPoint;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 600);
const FRONT: RGBColor = RGBColor(0xd9, 0x48, 0x01);
const OTHER: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);

/// Time against the fullest resource, both on logarithmic axes: everything that was priced, and the trade-offs on top.
pub fn trade_offs(title: &str, points: &[DesignPoint], front: &[DesignPoint]) -> String {
    let place = |p: &DesignPoint| (100.0 * p.fill.max(1e-6), p.latency_ms.max(1e-9));
    let all: Vec<(f64, f64)> = points.iter().map(place).collect();
    let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
        let (low, high) = all.iter().map(values).fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
        low * 0.8..high * 1.25
    };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
            root.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&root)
                .caption(title, ("sans-serif", 22))
                .margin(16)
                .x_label_area_size(48)
                .y_label_area_size(72)
                .build_cartesian_2d(range(&|p| p.0).log_scale(), range(&|p| p.1).log_scale())?;
            chart
                .configure_mesh()
                .x_desc("fullest resource, % of what may be used (above 100 it does not fit)")
                .y_desc("time of one inference, ms")
                .light_line_style(WHITE)
                .draw()?;
            chart
                .draw_series(all.iter().map(|at| Circle::new(*at, 2, OTHER.filled())))?
                .label("priced")
                .legend(|(x, y)| Circle::new((x + 8, y), 3, OTHER.filled()));
            chart
                .draw_series(front.iter().map(|p| Circle::new(place(p), 4, FRONT.filled())))?
                .label("trade-off")
                .legend(|(x, y)| Circle::new((x + 8, y), 4, FRONT.filled()));
            chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
            root.present()?;
            Ok(())
        };
        draw().expect("drawing into a string does not fail");
    }
    svg
}
