//! The protobuf types in `src/proto.rs` are those of `proto/onnx.proto`.

use std::fs;
use std::path::Path;

/// Set to write the file instead of comparing.
const REGENERATE: &str = "ESPALIER_REGENERATE";

#[test]
fn protobuf_types_are_generated_from_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = protox::compile(["onnx.proto"], [root.join("proto")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prost_build::Config::new().out_dir(folder.path()).disable_comments(["."]).compile_fds(schema).unwrap();
    let generated = fs::read_to_string(folder.path().join("onnx.rs")).unwrap();
    let committed = root.join("src/proto.rs");
    if std::env::var_os(REGENERATE).is_some() {
        fs::write(&committed, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&committed).unwrap() == generated,
        "src/proto.rs differs from proto/onnx.proto: run this test with {REGENERATE}=1 and commit the file"
    );
}
