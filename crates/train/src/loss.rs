//! Cross-entropy with labels and, optionally, divergence from a teacher.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// What the teacher says about the samples of one shard.
pub(crate) struct Teaching {
    /// Teacher's logits, `[batch * classes]`.
    pub(crate) logits: Vec<f32>,
    pub(crate) temperature: f32,
    pub(crate) weight: f32,
}

/// What another sample that is blended into one adds to its label.
#[derive(Clone, Copy)]
pub(crate) struct Blend {
    pub(crate) class: u32,
    pub(crate) share: f32,
}

/// Sum over the batch of `(1 - a) * CE(labels) + a * T^2 * KL(teacher_T || student_T)`
/// (Hinton et al. 2015: T^2 keeps the gradients of both terms of one size), where the labels give the
/// share `smoothing` to all classes alike, and of a blended sample a share to a second class.
pub(crate) fn summed_loss(
    logits: Tensor<2>,
    labels: &[u32],
    blends: Option<&[Blend]>,
    smoothing: f32,
    teaching: Option<&Teaching>,
    device: &Device,
) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let mut one_hot = vec![smoothing / classes as f32; batch * classes];
    for (sample, (row, label)) in one_hot.chunks_mut(classes).zip(labels).enumerate() {
        let blend = blends.map_or(Blend { class: *label, share: 0.0 }, |b| b[sample]);
        row[*label as usize] += (1.0 - smoothing) * (1.0 - blend.share);
        row[blend.class as usize] += (1.0 - smoothing) * blend.share;
    }
    let one_hot = Tensor::<2>::from_data(TensorData::new(one_hot, [batch, classes]), device);
    let cross_entropy = (log_softmax(logits.clone(), 1) * one_hot).sum().neg();
    let Some(Teaching { logits: teacher, temperature, weight }) = teaching else { return cross_entropy };
    let teacher = Tensor::<2>::from_data(TensorData::new(teacher.clone(), [batch, classes]), device);
    let teacher = log_softmax(teacher.div_scalar(*temperature), 1);
    let student = log_softmax(logits.div_scalar(*temperature), 1);
    let divergence = (teacher.clone().exp() * (teacher - student)).sum();
    cross_entropy.mul_scalar(1.0 - weight) + divergence.mul_scalar(weight * temperature * temperature)
}

/// Cross-entropy of one sample, in f64 on the host.
pub(crate) fn cross_entropy(logits: &[f32], label: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|v| f64::from(v - max).exp()).sum();
    sum.ln() - f64::from(logits[label as usize] - max)
}

/// Index of the largest logit, the first of equals.
pub(crate) fn predicted(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_of_the_device_equals_that_of_the_host() {
        let device = Device::flex();
        let logits = [3.0f32, -1.0, 0.5, 80.0, -80.0, 0.0];
        let tensor = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [2, 3]), &device);
        let host = cross_entropy(&logits[..3], 2) + cross_entropy(&logits[3..], 1);
        let loss = summed_loss(tensor, &[2, 1], None, 0.0, None, &device).into_scalar::<f32>();
        assert!((f64::from(loss) - host).abs() < 1e-4, "{loss} {host}");
    }

    #[test]
    fn smoothing_spreads_the_label() {
        let device = Device::flex();
        let logits = [3.0f32, -1.0, 0.5];
        let tensor = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [1, 3]), &device);
        let by_hand = 0.7 * cross_entropy(&logits, 1) + (0..3).map(|c| 0.1 * cross_entropy(&logits, c)).sum::<f64>();
        let loss = summed_loss(tensor, &[1], None, 0.3, None, &device).into_scalar::<f32>();
        assert!((f64::from(loss) - by_hand).abs() < 1e-5, "{loss} {by_hand}");
    }

    #[test]
    fn blends_share_the_label() {
        let device = Device::flex();
        let logits = [3.0f32, -1.0, 0.5];
        let tensor = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [1, 3]), &device);
        let blend = [Blend { class: 2, share: 0.4 }];
        let loss = summed_loss(tensor, &[1], Some(&blend), 0.0, None, &device).into_scalar::<f32>();
        let by_hand = 0.6 * cross_entropy(&logits, 1) + 0.4 * cross_entropy(&logits, 2);
        assert!((f64::from(loss) - by_hand).abs() < 1e-5, "{loss} {by_hand}");
    }

    #[test]
    fn divergence_from_oneself_is_zero_and_grows() {
        let device = Device::flex();
        let logits = vec![1.0f32, 2.0, -1.0];
        let tensor = || Tensor::<2>::from_data(TensorData::new(logits.clone(), [1, 3]), &device);
        let teach = |logits: Vec<f32>| Teaching { logits, temperature: 3.0, weight: 1.0 };
        let same = summed_loss(tensor(), &[0], None, 0.0, Some(&teach(logits.clone())), &device).into_scalar::<f32>();
        assert!(same.abs() < 1e-6);
        // By hand: p = softmax(0, 0, 3/3), q = softmax(1/3, 2/3, -1/3); 9 * sum(p * ln(p / q)).
        let other =
            summed_loss(tensor(), &[0], None, 0.0, Some(&teach(vec![0.0, 0.0, 3.0])), &device).into_scalar::<f32>();
        let softmax = |l: [f64; 3]| l.map(|v| v.exp() / l.iter().map(|v| v.exp()).sum::<f64>());
        let (p, q) = (softmax([0.0, 0.0, 1.0]), softmax([1.0 / 3.0, 2.0 / 3.0, -1.0 / 3.0]));
        let by_hand: f64 = (0..3).map(|i| 9.0 * p[i] * (p[i] / q[i]).ln()).sum();
        assert!((f64::from(other) - by_hand).abs() < 1e-4, "{other} {by_hand}");
    }

    #[test]
    fn first_of_equal_logits_wins() {
        assert_eq!(predicted(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(predicted(&[f32::NAN]), 0);
    }
}
