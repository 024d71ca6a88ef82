//! Data sets: bytes in, checked samples out. Nothing here touches files; `cli` reads them.
//!
//! [`parse`] recognises the format by content (IDX, CIFAR-10 binary, NPY, NPZ, PNG, JPEG, each also
//! gzip-compressed), [`Dataset::assemble`] joins inputs and labels and fits them to the input shape of
//! a model, and [`split`] divides sample indices into disjoint training and validation sets. Input is
//! hostile until proven otherwise: declared sizes are checked against the bytes that are there before
//! anything is allocated, and decompression stops at a multiple of the compressed size.
//!
//! ```
//! let npy = espalier_data::write_npy_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
//! let espalier_data::Content::Array(array) = espalier_data::parse(&npy, "x.npy", None).unwrap() else { panic!() };
//! assert_eq!(array.shape, [2, 3]);
//! ```

mod array;
mod cifar;
mod content;
mod dataset;
mod gzip;
mod idx;
mod npy;
mod npz;
mod picture;
mod preprocess;
mod split;

pub use array::Array;
pub use cifar::parse_cifar10;
pub use content::{Content, parse};
pub use dataset::{Dataset, labels_from};
pub use gzip::gunzip;
pub use idx::parse_idx;
pub use npy::{is_npy_i8, parse_npy, write_npy_f32, write_npy_i8};
pub use npz::parse_npz;
pub use picture::decode_image;
pub use preprocess::{Layout, Preprocessing};
pub use split::{Split, choose, repeated, split};
