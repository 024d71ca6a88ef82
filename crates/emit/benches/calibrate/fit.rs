//! Least squares of relative errors with coefficients that are not negative.

use std::collections::BTreeMap;

use espalier_target::{Calibration, Logic, Part, PointUse, parts};

/// Rounds of coordinate descent; far more than it takes to converge.
const ROUNDS: usize = 200_000;
/// Weight of a small coefficient against a small error, so that parts that points cannot tell apart share what they take.
const RIDGE: f64 = 1e-6;

/// Fits what each part takes.
pub fn fit(calibration: &mut Calibration) {
    let points: Vec<_> = calibration.points.iter().filter(|p| p.used_for == PointUse::Fit).collect();
    let counts: Vec<BTreeMap<Part, f64>> = points.iter().map(|p| parts(&p.config).into_iter().collect()).collect();
    let all: std::collections::BTreeSet<Part> = counts.iter().flat_map(|c| c.keys().copied()).collect();
    let all: Vec<Part> = all.into_iter().collect();
    let solve = |amounts: Vec<f64>| {
        let row = |(counts, amount): (&BTreeMap<Part, f64>, &f64)| -> Vec<f64> {
            all.iter().map(|part| counts.get(part).copied().unwrap_or(0.0) / amount.max(1.0)).collect()
        };
        let rows: Vec<Vec<f64>> = counts.iter().zip(&amounts).map(row).collect();
        non_negative(&rows)
    };
    let cells = solve(points.iter().map(|p| p.cells).collect());
    let flip_flops = solve(points.iter().map(|p| p.flip_flops).collect());
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    calibration.parts = (all.iter().zip(cells.iter().zip(&flip_flops)))
        .map(|(part, (cells, flip_flops))| (*part, Logic { cells: round(*cells), flip_flops: round(*flip_flops) }))
        .collect();
}

/// Coefficients from 0 that bring the sum of every row closest to 1.
fn non_negative(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    // Columns scaled to length 1, so that every step is as good as any other.
    let scale: Vec<f64> = (0..columns).map(|j| rows.iter().map(|r| r[j] * r[j]).sum::<f64>().sqrt()).collect();
    let mut x = vec![0.0; columns];
    let mut residual = vec![1.0; rows.len()];
    for _ in 0..ROUNDS {
        let mut moved = 0.0f64;
        for j in 0..columns {
            let slope: f64 = rows.iter().zip(&residual).map(|(r, e)| r[j] / scale[j] * e).sum::<f64>() - RIDGE * x[j];
            let next = (x[j] + slope / (1.0 + RIDGE)).max(0.0);
            let step = next - x[j];
            rows.iter().zip(&mut residual).for_each(|(r, e)| *e -= r[j] / scale[j] * step);
            x[j] = next;
            moved = moved.max(step.abs());
        }
        if moved < 1e-10 {
            break;
        }
    }
    x.iter().zip(scale).map(|(x, scale)| x / scale).collect()
}
