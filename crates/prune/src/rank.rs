//! Numerical rank of small matrices.

/// Rank of a row-major `rows x cols` matrix: the number of diagonal elements of `R` above
/// `max(rows, cols) * 2^-23 * |R[0][0]|` in a QR decomposition with column pivoting (Businger and
/// Golub 1965, here by modified Gram-Schmidt with one repetition). The tolerance is that of
/// `matrix_rank` in numpy and torch for 32-bit floats, with `|R[0][0]|` for the largest singular value.
///
/// # Panics
/// If the number of values is not `rows * cols`.
pub fn numerical_rank(values: &[f32], rows: usize, cols: usize) -> usize {
    assert_eq!(values.len(), rows * cols, "the matrix must hold rows * cols values");
    let mut columns: Vec<Vec<f64>> =
        (0..cols).map(|c| (0..rows).map(|r| f64::from(values[r * cols + c])).collect()).collect();
    let mut tolerance = 0.0;
    let most = rows.min(cols);
    for rank in 0..most {
        let norms = columns[rank..].iter().map(|c| dot(c, c).sqrt()).enumerate();
        let (pivot, norm) = norms.fold((0, -1.0), |best, new| if new.1 > best.1 { new } else { best });
        if rank == 0 {
            tolerance = rows.max(cols) as f64 * f64::from(f32::EPSILON) * norm;
        }
        if norm <= tolerance || !norm.is_finite() {
            return rank;
        }
        columns.swap(rank, rank + pivot);
        let (done, rest) = columns.split_at_mut(rank + 1);
        let unit = &mut done[rank];
        unit.iter_mut().for_each(|v| *v /= norm);
        for column in rest {
            // Twice is enough (Kahan, Parlett) for what is left to be orthogonal.
            for _ in 0..2 {
                let share = dot(unit, column);
                column.iter_mut().zip(unit.iter()).for_each(|(v, u)| *v -= share * u);
            }
        }
    }
    most
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
