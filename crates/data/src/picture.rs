//! PNG and JPEG images as planes of floats.

use std::io::Cursor;

use espalier_ir::Diagnostic;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use crate::Array;

/// Wider or higher images are refused.
const MAX_EDGE: u32 = 8192;
/// Memory that a decoder may take, bytes.
const MAX_DECODER_BYTES: u64 = 256 << 20;

/// The image format of these bytes, if it is one that is read.
pub(crate) fn image_format(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        _ => None,
    }
}

/// Decodes a PNG or JPEG image to `[channels, height, width]`, values 0..=255.
///
/// `channels` is 1 (grey: luminance) or 3 (red, green, blue); transparency is dropped.
///
/// # Errors
/// If the image is damaged, larger than 8192 pixels on an edge, or `channels` is neither 1 nor 3.
pub fn decode_image(bytes: &[u8], at: &str, channels: usize) -> Result<Array, Diagnostic> {
    let format = image_format(bytes)
        .ok_or_else(|| Diagnostic::error("unknown-data-format", at, "is neither a PNG nor a JPEG image"))?;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_EDGE);
    limits.max_image_height = Some(MAX_EDGE);
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| {
        Diagnostic::error("damaged-data", at, format!("cannot be decoded: {error}"))
            .with_help("images up to 8192 x 8192 pixels are read; check that the file is whole")
    })?;
    let [height, width] = [image.height(), image.width()].map(|e| e as usize);
    let values = match channels {
        1 => image.to_luma8().as_raw().iter().map(|v| f32::from(*v)).collect(),
        3 => planes(&image),
        _ => {
            return Err(Diagnostic::error(
                "wrong-channel-count",
                at,
                format!("images have 1 or 3 channels, the model takes {channels}"),
            ));
        }
    };
    Ok(Array { shape: vec![channels, height, width], values })
}

fn planes(image: &DynamicImage) -> Vec<f32> {
    let rgb = image.to_rgb8();
    let interleaved = rgb.as_raw();
    (0..3).flat_map(|c| interleaved.iter().skip(c).step_by(3).map(|v| f32::from(*v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn colours_become_planes() {
        let rgb = image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let bytes = png(&DynamicImage::ImageRgb8(rgb));
        let array = decode_image(&bytes, "t", 3).unwrap();
        assert_eq!((array.shape, array.values), (vec![3, 1, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(decode_image(&bytes, "t", 1).unwrap().shape, [1, 1, 2]);
        assert_eq!(decode_image(&bytes, "t", 2).unwrap_err().code, "wrong-channel-count");
    }

    #[test]
    fn grey_is_exact_and_jpeg_is_read() {
        let grey = DynamicImage::ImageLuma8(image::GrayImage::from_raw(3, 1, vec![0, 128, 255]).unwrap());
        assert_eq!(decode_image(&png(&grey), "t", 1).unwrap().values, [0.0, 128.0, 255.0]);
        let mut jpeg = Cursor::new(Vec::new());
        grey.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        assert_eq!(decode_image(jpeg.get_ref(), "t", 1).unwrap().shape, [1, 1, 3]);
    }

    #[test]
    fn damaged_and_huge_images_are_refused() {
        let grey = DynamicImage::ImageLuma8(image::GrayImage::new(40, 40));
        let bytes = png(&grey);
        for end in 0..bytes.len() - 12 {
            assert!(decode_image(&bytes[..end], "t", 1).is_err(), "cut to {end} bytes");
        }
        // Width of two thousand million pixels; the check sum is wrong as well, either way a finding.
        let mut huge = bytes;
        huge[16] = 0x7f;
        assert!(decode_image(&huge, "t", 1).is_err());
    }
}
