//! Bytes from outside never panic and never take memory out of proportion.

use espalier_data::{Content, gunzip, parse, write_npy_f32};
use espalier_ir::Random;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_transparent() {
    let plain = write_npy_f32(&[3], &[1.0, 2.0, 3.0]);
    assert_eq!(parse(&gzip(&plain), "t", None), parse(&plain, "t", None));
}

#[test]
fn a_gzip_bomb_stops_early() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 400_000, "{} bytes", bomb.len());
    let finding = gunzip(&bomb, "bomb.gz").unwrap_err();
    assert_eq!(finding.code, "data-too-large");
}

#[test]
fn a_cut_gzip_stream_is_a_finding() {
    let mut random = Random::new(1);
    let noise: Vec<f32> = (0..100).map(|_| random.unit()).collect();
    let whole = gzip(&write_npy_f32(&[100], &noise));
    for end in [0, 1, 2, 9, 10, 50, whole.len() / 2, whole.len() - 1] {
        assert!(parse(&whole[..end], "t", None).is_err(), "cut to {end} bytes");
    }
}

#[test]
fn text_and_empty_files_are_unknown() {
    for bytes in [&b""[..], b"hello", b"\0\0", b"[model]\npath = 'x'\n"] {
        assert_eq!(parse(bytes, "t", None).unwrap_err().code, "unknown-data-format");
    }
}

#[test]
fn cifar_is_recognised_even_if_it_starts_like_idx() {
    let mut bytes = vec![0; 2 * 3073];
    bytes[2] = 8;
    bytes[3] = 1;
    assert!(matches!(parse(&bytes, "t", None), Ok(Content::Pair(images, Some(_))) if images.shape == [2, 3, 32, 32]));
}

proptest! {
    #[test]
    fn noise_behind_a_magic_number_is_never_a_panic(magic in 0usize..7, noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let magics: [&[u8]; 7] = [b"", b"\x1f\x8b\x08", b"\x93NUMPY\x01\0", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0\0\x08\x01"];
        let bytes = [magics[magic], &noise].concat();
        if let Ok(Content::Image(bytes)) = parse(&bytes, "t", None) {
            let _ = espalier_data::decode_image(&bytes, "t", 3);
        }
    }
}
