//! Estimators of entropy, information and rank on distributions and matrices whose answer is known.

use espalier_ir::Random;
use espalier_prune::{Grid, entropy_bits, mutual_information_bits, numerical_rank};

/// Mean estimate and mean plug-in estimate over `trials` histograms of `n` draws from `p`.
fn estimates(p: &[f64], n: usize, trials: usize) -> (f64, f64) {
    let mut random = Random::new(n as u64);
    let (mut corrected, mut plug_in) = (0.0, 0.0);
    for _ in 0..trials {
        let mut counts = vec![0u64; p.len()];
        for _ in 0..n {
            let mut u = f64::from(random.unit());
            let bin = p.iter().position(|p| {
                u -= p;
                u < 0.0
            });
            counts[bin.unwrap_or(p.len() - 1)] += 1;
        }
        corrected += entropy_bits(&counts);
        let share = |c: &u64| *c as f64 / n as f64;
        plug_in -= counts.iter().filter(|c| **c > 0).map(|c| share(c) * share(c).log2()).sum::<f64>();
    }
    (corrected / trials as f64, plug_in / trials as f64)
}

fn exact(p: &[f64]) -> f64 {
    -p.iter().map(|p| p * p.log2()).sum::<f64>()
}

#[test]
fn entropy_of_known_distributions_even_from_few_samples() {
    let uniform = vec![1.0 / 16.0; 16];
    for (p, samples) in [
        (uniform.clone(), 4 * 16),
        (uniform, 1000),
        (vec![0.1, 0.9], 16),
        (vec![0.5, 0.5], 16),
        (vec![0.5, 0.25, 0.125, 0.0625, 0.0625], 32),
    ] {
        let truth = exact(&p);
        let (corrected, plug_in) = estimates(&p, samples, 4000);
        let bias = truth - plug_in;
        assert!(bias > 0.0, "the plug-in estimate is low: {plug_in} of {truth}");
        assert!(
            (corrected - truth).abs() < 0.35 * bias + 2e-3,
            "{corrected} of {truth}, plug-in {plug_in}, n {samples}"
        );
    }
    assert!((estimates(&[1.0 / 16.0; 16], 64, 4000).0 - 4.0).abs() < 0.03, "without correction it lies 0.17 bits low");
}

#[test]
fn constants_and_nothing_carry_no_information() {
    assert_eq!(entropy_bits(&[0, 400, 0]), 0.0);
    assert_eq!(entropy_bits(&[]), 0.0);
    assert_eq!(entropy_bits(&[0, 0]), 0.0);
    assert_eq!(mutual_information_bits(&[]), 0.0);
    assert_eq!(mutual_information_bits(&[vec![10, 0], vec![20, 0]]), 0.0);
}

#[test]
fn information_of_independent_variables_is_about_zero() {
    let mut random = Random::new(3);
    let (mut corrected, mut plug_in) = (0.0, 0.0);
    let trials = 200;
    for _ in 0..trials {
        let mut joint = vec![vec![0u64; 33]; 10];
        (0..2048).for_each(|_| joint[random.below(10)][random.below(33)] += 1);
        corrected += mutual_information_bits(&joint) / f64::from(trials);
        let total = 2048.0;
        let marginal: Vec<f64> = (0..33).map(|b| joint.iter().map(|r| r[b]).sum::<u64>() as f64 / total).collect();
        let entropy = |p: &mut dyn Iterator<Item = f64>| -p.filter(|p| *p > 0.0).map(|p| p * p.log2()).sum::<f64>();
        let conditional: f64 = joint
            .iter()
            .map(|r| {
                let n = r.iter().sum::<u64>() as f64;
                n / total * entropy(&mut r.iter().map(|c| *c as f64 / n))
            })
            .sum();
        plug_in += (entropy(&mut marginal.into_iter()) - conditional) / f64::from(trials);
    }
    assert!(plug_in > 0.09, "the bias that has to go: {plug_in}");
    assert!(corrected < 0.02, "{corrected}");
}

#[test]
fn information_of_what_determines_the_class_is_the_entropy_of_the_class() {
    let joint: Vec<Vec<u64>> = (0..8).map(|y| (0..8).map(|b| if b == y { 100 } else { 0 }).collect()).collect();
    assert!((mutual_information_bits(&joint) - 3.0).abs() < 0.01);
    // Half of the classes look the same.
    let halves: Vec<Vec<u64>> =
        (0..8).map(|y| vec![if y < 4 { 100 } else { 0 }, if y < 4 { 0 } else { 100 }]).collect();
    assert!((mutual_information_bits(&halves) - 1.0).abs() < 0.01);
    // The code of the bins does not matter.
    let mut moved = joint.clone();
    moved.iter_mut().for_each(|row| row.reverse());
    assert_eq!(mutual_information_bits(&joint), mutual_information_bits(&moved));
}

#[test]
fn grids_serve_zero_outliers_and_constants() {
    let mut values: Vec<f32> = (0..10_000).map(|i| 1.0 + i as f32 / 10_000.0).collect();
    values.extend([0.0; 500]);
    values.push(1e9);
    let grid = Grid::new(values.iter().copied(), 10);
    assert_eq!(grid.bins(), 11);
    let counts = grid.counts(values.iter().copied());
    assert_eq!(counts[10], 500, "exact zeros have a bin of their own");
    assert!(counts[..10].iter().all(|c| (950..1100).contains(c)), "one outlier leaves the grid as it is: {counts:?}");
    assert_eq!((grid.bin(-5.0), grid.bin(f32::INFINITY)), (0, 9));
    let constant = Grid::new([3.0; 8].into_iter(), 4);
    assert_eq!(constant.counts([3.0; 8].into_iter()), [8, 0, 0, 0, 0]);
    assert_eq!(Grid::new([0.0; 8].into_iter(), 4).counts([0.0; 8].into_iter()), [0, 0, 0, 0, 8]);
}

#[test]
fn ranks_of_products_are_their_inner_dimension() {
    let mut random = Random::new(5);
    for (rows, cols) in [(8, 8), (5, 9), (9, 5), (32, 32), (1, 7), (7, 1)] {
        for rank in 0..=rows.min(cols) {
            let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| random.unit() - 0.5).collect() };
            let (a, b) = (draw(rows * rank), draw(rank * cols));
            let product: Vec<f32> = (0..rows * cols)
                .map(|i| (0..rank).map(|k| a[i / cols * rank + k] * b[k * cols + i % cols]).sum())
                .collect();
            assert_eq!(numerical_rank(&product, rows, cols), rank, "{rows} x {cols}");
        }
    }
}

#[test]
fn ranks_of_special_matrices() {
    let unit: Vec<f32> = (0..36).map(|i| f32::from(u8::from(i / 6 == i % 6))).collect();
    assert_eq!(numerical_rank(&unit, 6, 6), 6);
    assert_eq!(numerical_rank(&[0.0; 36], 6, 6), 0);
    assert_eq!(numerical_rank(&[2.5; 36], 6, 6), 1);
    assert_eq!(numerical_rank(&[], 0, 0), 0);
    // Scale plays no part; what is smaller than the precision of the largest is noise.
    let tiny: Vec<f32> = unit.iter().map(|v| v * 1e-30).collect();
    assert_eq!(numerical_rank(&tiny, 6, 6), 6);
    let mut graded = vec![0.0; 36];
    (0..6).for_each(|i| graded[7 * i] = 10f32.powi(-3 * i as i32));
    assert_eq!(numerical_rank(&graded, 6, 6), 3);
    // The matrix of Kahan fools unpivoted decompositions; its columns are independent.
    let (s, c) = (0.9f32, (1.0f32 - 0.81).sqrt());
    let kahan: Vec<f32> = (0..100)
        .map(|i| {
            let (row, col) = (i / 10, i % 10);
            s.powi(row)
                * if row == col {
                    1.0
                } else if col > row {
                    -c
                } else {
                    0.0
                }
        })
        .collect();
    assert_eq!(numerical_rank(&kahan, 10, 10), 10);
}
