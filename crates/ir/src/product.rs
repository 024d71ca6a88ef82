//! Products of two computed values.

/// Shape of the elementwise product: an axis of extent 1 is repeated.
pub(crate) fn elementwise_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let extent = |(a, b): (&usize, &usize)| (a == b || *a == 1 || *b == 1).then_some(*a.max(b));
    if a.len() == b.len() { a.iter().zip(b).map(extent).collect() } else { None }
}

/// Elementwise product; axes of extent 1 are repeated.
pub(crate) fn elementwise(x: &[&[f32]], shapes: [&[usize]; 2], shape: &[usize]) -> Vec<f32> {
    // Position in an operand of the element at a position of the result.
    let locate = |operand: &[usize], mut at: usize| {
        let (mut position, mut stride) = (0, 1);
        for (extent, whole) in operand.iter().zip(shape).rev() {
            position += at % whole % extent * stride;
            stride *= extent;
            at /= whole;
        }
        position
    };
    let elements = 0..shape.iter().product();
    elements.map(|i| x[0][locate(shapes[0], i)] * x[1][locate(shapes[1], i)]).collect()
}

/// Matrix products of two values: how many, and `rows x inner` by `inner x columns`.
struct Matrices {
    count: usize,
    rows: usize,
    inner: usize,
    columns: usize,
}

impl Matrices {
    fn new(a: &[usize], b: &[usize], transpose: [bool; 2]) -> Option<Self> {
        let split = |shape: &[usize], turned: bool| match *shape {
            [rows, columns] => Some((1, if turned { [columns, rows] } else { [rows, columns] })),
            [count, rows, columns] => Some((count, if turned { [columns, rows] } else { [rows, columns] })),
            _ => None,
        };
        let (count, [rows, inner]) = split(a, transpose[0])?;
        let (other_count, [other_inner, columns]) = split(b, transpose[1])?;
        let fits = a.len() == b.len() && count == other_count && inner == other_inner;
        fits.then_some(Matrices { count, rows, inner, columns })
    }
}

/// Shape of the matrix product.
pub(crate) fn matrix_shape(a: &[usize], b: &[usize], transpose: [bool; 2]) -> Option<Vec<usize>> {
    let Matrices { count, rows, columns, .. } = Matrices::new(a, b, transpose)?;
    Some(if a.len() == 3 { vec![count, rows, columns] } else { vec![rows, columns] })
}

/// Matrix product of operands whose shapes fit.
pub(crate) fn matrices(x: &[&[f32]], shapes: [&[usize]; 2], transpose: [bool; 2]) -> Vec<f32> {
    let Matrices { count, rows, inner, columns } =
        Matrices::new(shapes[0], shapes[1], transpose).expect("checked by inference");
    let mut y = Vec::with_capacity(count * rows * columns);
    for n in 0..count {
        let [a, b] = [&x[0][n * rows * inner..], &x[1][n * inner * columns..]];
        for r in 0..rows {
            for c in 0..columns {
                let left = |i: usize| if transpose[0] { a[i * rows + r] } else { a[r * inner + i] };
                let right = |i: usize| if transpose[1] { b[c * inner + i] } else { b[i * columns + c] };
                y.push((0..inner).map(|i| left(i) * right(i)).sum());
            }
        }
    }
    y
}
