//! Resource estimates against the synthesized accelerators of `hw-targets/calibration/`.

use espalier_target::{
    Calibration, Confidence, Multiplier, PACKED_CELLS, Part, PointUse, Target, builtin_targets, calibrated_families,
    calibration, parts, resources,
};

fn calibrations() -> Vec<&'static Calibration> {
    calibrated_families().map(|family| calibration(family).expect("has a file")).collect()
}

fn device(family: &str) -> Target {
    let of = |t: &Target| t.family.as_deref() == Some(family) || t.name == family;
    builtin_targets().into_iter().find(of).expect("has a device")
}

#[test]
fn held_out_accelerators_are_predicted() {
    let mut points = 0;
    for calibration in calibrations() {
        let held_out = calibration.accuracy(PointUse::HeldOut);
        let what = format!("{}: {held_out:?}", calibration.family);
        assert!(held_out.mean.cells <= 0.10 && held_out.worst.cells <= 0.20, "{what}");
        assert!(held_out.mean.flip_flops <= 0.10 && held_out.worst.flip_flops <= 0.20, "{what}");
        assert!(held_out.points >= 4, "{what}");
        let fitted = calibration.accuracy(PointUse::Fit);
        assert!(fitted.points > held_out.points && fitted.worst.cells < 0.15, "{}: {fitted:?}", calibration.family);
        points += held_out.points;
    }
    assert!(points >= 12 && calibrations().len() >= 3, "{points} points");
}

#[test]
fn multipliers_block_rams_and_macros_are_exact_in_every_synthesis() {
    for calibration in calibrations() {
        let target = device(&calibration.family);
        for point in &calibration.points {
            let uses = resources(&target, &point.config).uses;
            let used = |name: &str| uses.iter().find(|u| u.name == name).expect("listed").used;
            let what = format!("{} {:?}", calibration.family, point.config);
            assert!(!point.block_rams.is_empty(), "{what}");
            if let Some(asic) = &target.asic {
                let area = |(name, n): (&String, &f64)| {
                    let kind = asic.macros.iter().find(|m| m.name() == *name).expect("a macro of the process");
                    n * kind.area_mm2.value * asic.two_port_factor.value
                };
                let synthesized: f64 = point.block_rams.iter().map(area).sum();
                assert!((used("memory area mm2") - synthesized).abs() < 1e-9, "{what}: {synthesized}");
                continue;
            }
            assert_eq!(used("multipliers"), point.multipliers, "{what}");
            for (name, blocks) in &point.block_rams {
                assert_eq!(used(name), *blocks, "{name}: {what}");
            }
        }
    }
}

/// No point of the fit stands among the points that judge it, and all options do.
#[test]
fn held_out_accelerators_are_others_and_have_every_option() {
    let of = |used_for| calibrations().into_iter().flat_map(|c| &c.points).filter(move |p| p.used_for == used_for);
    for calibration in calibrations() {
        let fitted = |config: &espalier_target::AcceleratorConfig| {
            calibration.points.iter().any(|p| p.used_for == PointUse::Fit && p.config == *config)
        };
        let held_out = calibration.points.iter().filter(|p| p.used_for == PointUse::HeldOut);
        let both: Vec<_> = held_out.filter(|p| fitted(&p.config)).collect();
        assert!(both.is_empty(), "{}: {both:?}", calibration.family);
    }
    let some = |holds: &dyn Fn(&espalier_target::AcceleratorConfig) -> bool| {
        of(PointUse::HeldOut).any(|p| holds(&p.config)) && of(PointUse::Fit).any(|p| holds(&p.config))
    };
    assert!(some(&|c| c.combine == 2));
    assert!(some(&|c| c.external().is_some()));
    assert!(some(&|c| c.depthwise_taps > 0));
    assert!(some(&|c| c.multiplier == Multiplier::Packed));
    assert!(some(&|c| c.multiplier == Multiplier::Lut));
    assert!(of(PointUse::HeldOut).any(|p| p.config.max_multipliers.is_some()));
}

#[test]
fn every_part_of_an_accelerator_takes_something() {
    for calibration in calibrations() {
        let nothing: Vec<&Part> =
            calibration.parts.iter().filter(|(_, l)| l.cells + l.flip_flops <= 0.0).map(|(part, _)| part).collect();
        assert!(nothing.len() <= 4, "{}: {nothing:?}", calibration.family);
        for point in &calibration.points {
            let unknown = parts(&point.config).into_iter().find(|(part, _)| !calibration.parts.contains_key(part));
            assert_eq!(unknown, None, "{}: not fitted", calibration.family);
        }
    }
}

#[test]
fn figures_say_how_sure_they_are() {
    for target in builtin_targets() {
        let uses = resources(&target, &target.accelerator.with_depths_for(2048, 64)).uses;
        let family = target.family.as_deref().unwrap_or(&target.name);
        for one in uses {
            // Of memories of silicon no one has built those with two ports.
            let logic = target.asic.is_none() || one.name == "logic area mm2";
            let calibrated = logic && calibrated_families().any(|known| known == family);
            let expected = if calibrated { Confidence::Calibrated } else { Confidence::Assumed };
            assert_eq!(one.confidence, expected, "{}: {}", target.name, one.name);
            let judged = calibrated && one.name != PACKED_CELLS;
            assert_eq!(one.worst_error.is_some(), judged, "{}: {}", target.name, one.name);
        }
    }
}
