//! Tensor layouts by hand and by brute force.

use std::collections::HashMap;

use espalier_target::{Halo, TensorLayout, replicas};
use proptest::prelude::*;

#[test]
fn layout_of_an_odd_tensor_by_hand() {
    let halo = Halo { top: 1, bottom: 2, side: 1 };
    let layout = TensorLayout::new([3, 5, 7], 8, true, halo);
    assert_eq!((layout.replicas, layout.planes), (2, 1));
    assert_eq!(layout.pitch, 8);
    assert_eq!(layout.plane_bytes, 8 * 8 + 1);
    assert_eq!(layout.offset(0, 0, 0), 8 + 1);
    assert_eq!(layout.offset(2, 4, 6), 5 * 8 + 1 + 6);
    assert_eq!([0, 1].map(|k| layout.lane(2, k)), [2, 5]);
}

#[test]
fn channels_beyond_the_lanes_continue_in_planes() {
    let layout = TensorLayout::new([19, 3, 2], 8, false, Halo::default());
    assert_eq!((layout.replicas, layout.planes, layout.plane_bytes), (1, 3, 6));
    assert_eq!((layout.lane(18, 0), layout.plane(18)), (2, 2));
    assert_eq!(layout.offset(18, 2, 1), 12 + 5);
    assert_eq!(layout.bytes(), 18);
}

#[test]
fn replicas_fill_lanes_of_narrow_tensors() {
    assert_eq!(replicas(1, 32, true), 32);
    assert_eq!(replicas(1, 32, false), 4);
    assert_eq!(replicas(3, 16, true), 5);
    assert_eq!(replicas(3, 16, false), 4);
    assert_eq!(replicas(5, 32, true), 1, "loading replicates at most four channels");
    assert_eq!(replicas(5, 32, false), 4);
    assert_eq!(replicas(4, 8, false), 2);
    assert_eq!(replicas(5, 8, false), 1, "more than half the lanes");
}

#[test]
fn write_back_rotates_by_plane_and_by_replica() {
    // 20 channels on 8 lanes, block of 16 columns from channel 4: planes 0, 1, 2.
    let wide = TensorLayout::new([20, 2, 2], 8, false, Halo::default()).write_back(4, 16);
    assert_eq!((wide.chunks, wide.plane_offset, wide.rot0, wide.rot_step, wide.step), (3, 0, -4, 8, 4));
    // 3 channels on 16 lanes: four replicas in lanes 0, 3, 6, 9.
    let narrow = TensorLayout::new([3, 2, 2], 16, false, Halo::default()).write_back(0, 3);
    assert_eq!((narrow.chunks, narrow.rot0, narrow.rot_step, narrow.step), (4, 0, -3, 0));
}

#[test]
fn a_long_run_is_cut_to_the_counters() {
    // 16 maps of 70x70 without halo on 4 lanes: 19600 contiguous cells.
    let layout = TensorLayout::new([16, 70, 70], 4, false, Halo::default());
    let rects = layout.element_rects();
    assert_eq!(rects.iter().map(|r| r.cells()).sum::<usize>(), 19_600);
    assert!(rects.iter().all(|r| r.nx <= 4095 && r.ny <= 4095));
    let addresses: Vec<usize> = rects.iter().flat_map(|r| r.addresses()).collect();
    assert_eq!(addresses, (0..19_600).collect::<Vec<_>>());
}

fn any_layout() -> impl Strategy<Value = TensorLayout> {
    let shape = (1usize..80, 1usize..10, 1usize..10);
    let halo = (0usize..4, 0usize..4, 0usize..4);
    (shape, halo, 4usize..=32, any::<bool>()).prop_map(|((c, h, w), (top, bottom, side), rows, input)| {
        TensorLayout::new([c, h, w], rows, input, Halo { top, bottom, side })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Elements and halo cells together are every byte of the region exactly once.
    #[test]
    fn halo_and_elements_partition_the_region(layout in any_layout()) {
        let [channels, height, width] = layout.shape;
        let mut cells = vec![0u32; layout.bytes()];
        for rect in layout.halo_rects() {
            prop_assert!(rect.nx >= 1 && rect.ny >= 1 && rect.nx <= 4095 && rect.ny <= 4095);
            rect.addresses().for_each(|a| cells[a] += 1);
        }
        let mut order = Vec::new();
        for plane in 0..layout.planes {
            for y in 0..height {
                for x in 0..width {
                    let address = layout.offset(plane * layout.rows, y, x);
                    cells[address] += 1;
                    order.push(address);
                }
            }
        }
        prop_assert!(cells.iter().all(|c| *c == 1), "{cells:?}");
        let beats: Vec<usize> = layout.element_rects().into_iter().flat_map(|r| r.addresses()).collect();
        prop_assert_eq!(beats, order);
        prop_assert!(layout.plane(channels - 1) == layout.planes - 1);
    }

    /// Padding cells of all rows and columns inside the halo are halo cells, never elements.
    #[test]
    fn neighbours_outside_the_map_are_halo(layout in any_layout()) {
        let [_, height, width] = layout.shape;
        let halo: std::collections::HashSet<usize> =
            layout.halo_rects().into_iter().flat_map(|r| r.addresses()).collect();
        let (top, side) = (layout.halo.top, layout.halo.side);
        for plane in 0..layout.planes {
            for y in 0..top + height + layout.halo.bottom {
                for x in 0..width + 2 * side {
                    let inside = (top..top + height).contains(&y) && (side..side + width).contains(&x);
                    let address = plane * layout.plane_bytes + y * layout.pitch + x;
                    prop_assert_eq!(halo.contains(&address), !inside);
                }
            }
        }
    }

    /// Every (channel, replica) is written exactly once over all blocks, at its lane and plane.
    #[test]
    fn write_back_covers_every_channel_and_replica_once(any in any_layout(), cols in 4usize..=32) {
        let layout = TensorLayout::new(any.shape, any.rows, false, any.halo);
        let [channels, ..] = layout.shape;
        let mut written: HashMap<(usize, usize), Vec<usize>> = HashMap::new();
        for first in (0..channels).step_by(cols) {
            let columns = cols.min(channels - first);
            let back = layout.write_back(first, columns);
            prop_assert!((1..=16).contains(&back.chunks));
            prop_assert!((-64..64).contains(&back.rot0) && (-64..64).contains(&back.rot_step));
            for chunk in 0..back.chunks {
                let mut enabled = 0;
                for lane in 0..layout.rows {
                    let column = lane as i32 + back.rot0 + chunk as i32 * back.rot_step;
                    if (0..columns as i32).contains(&column) {
                        let cell = (lane, back.plane_offset + chunk * back.step);
                        written.entry(cell).or_default().push(first + column as usize);
                        enabled += 1;
                    }
                }
                prop_assert!(enabled > 0, "no chunk is wasted");
            }
        }
        let mut expected = HashMap::new();
        for channel in 0..channels {
            for replica in 0..layout.replicas {
                let cell = (layout.lane(channel, replica), layout.plane(channel) * layout.plane_bytes);
                expected.insert(cell, vec![channel]);
            }
        }
        prop_assert_eq!(written, expected);
    }
}
