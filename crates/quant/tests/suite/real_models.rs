//! Accuracy of trained models after quantization, where models and data lie beside the repository.

use std::path::PathBuf;

use espalier_data::{Array, Content, Dataset, Preprocessing, labels_from, parse, parse_npz};
use espalier_ir::Graph;
use espalier_quant::{
    CalibrationMethod, QuantizeOptions, QuantizedGraph, ReferenceInterpreter, WeightRounding, calibrate,
    fold_batch_norm, layer_sqnr, quantize, to_qdq,
};

/// Samples for calibration, all of them training data where there is any.
const CALIBRATION: usize = 256;

fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let folder = std::env::var_os("ESPALIER_SHARED").map_or(beside, PathBuf::from);
    folder.join("models").is_dir().then_some(folder)
}

fn read(name: &str) -> Option<Vec<u8>> {
    let path = shared()?.join(name);
    Some(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn array(name: &str) -> Array {
    match parse(&read(name).unwrap(), name, None).unwrap() {
        Content::Array(array) => array,
        other => panic!("{name} holds {other:?}"),
    }
}

fn assemble(graph: &Graph, inputs: Array, labels: Option<Vec<u32>>, preprocessing: &Preprocessing) -> Dataset {
    let shape = &graph.node(graph.inputs()[0]).shape;
    Dataset::assemble(inputs, labels, shape, 0, preprocessing, "data").unwrap()
}

fn bytes_over(divisor: f32) -> Preprocessing {
    Preprocessing { scale: 1.0 / divisor, ..Default::default() }
}

/// Calibration samples and labelled test samples in IDX files.
fn idx(graph: &Graph, folder: &str, train: &str, divisor: f32) -> (Dataset, Dataset) {
    let file = |name: String| array(&format!("data/{folder}/{name}.gz"));
    let labels = labels_from(&file("t10k-labels-idx1-ubyte".into()), "labels").unwrap();
    let test = file("t10k-images-idx3-ubyte".into());
    let preprocessing = bytes_over(divisor);
    let train = assemble(graph, file(format!("{train}-images-idx3-ubyte")), None, &preprocessing);
    (train, assemble(graph, test, Some(labels), &preprocessing))
}

fn cifar(graph: &Graph) -> (Dataset, Dataset) {
    cifar_with(graph, &Preprocessing::default())
}

fn cifar_normalized(graph: &Graph) -> (Dataset, Dataset) {
    let (mean, std) = (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]);
    cifar_with(graph, &Preprocessing { mean, std, ..bytes_over(255.0) })
}

fn cifar_with(graph: &Graph, preprocessing: &Preprocessing) -> (Dataset, Dataset) {
    let part = |name: &str| {
        let name = format!("data/cifar10/{name}.bin.gz");
        match parse(&read(&name).unwrap(), &name, None).unwrap() {
            Content::Pair(inputs, labels) => {
                let labels = labels.map(|l| labels_from(&l, &name).unwrap());
                assemble(graph, inputs, labels, preprocessing)
            }
            other => panic!("{other:?}"),
        }
    };
    (part("data_batch_1"), part("test_batch_first1000"))
}

fn npz(graph: &Graph, name: &str, part: &str, preprocessing: &Preprocessing) -> Dataset {
    let (inputs, labels) = parse_npz(&read(name).unwrap(), name, Some(part)).unwrap();
    let labels = labels_from(&labels.unwrap(), name).unwrap();
    assemble(graph, inputs, Some(labels), preprocessing)
}

fn spoken_digits(graph: &Graph) -> (Dataset, Dataset) {
    let norm = read("data/kws/fsdd_norm.npz").unwrap();
    let (mean, std) = parse_npz(&norm, "norm", None).unwrap();
    let preprocessing = Preprocessing { mean: mean.values, std: std.unwrap().values, ..Default::default() };
    let part = |part| npz(graph, "data/kws/fsdd_mfcc49x10.npz", part, &preprocessing);
    (part("train"), part("test"))
}

fn keywords(graph: &Graph) -> (Dataset, Dataset) {
    let preprocessing = Preprocessing { mean: vec![83.0], std: vec![1.0 / 0.584_702_9], ..Default::default() };
    let all = npz(graph, "data/kws/kws01_mfcc_int8_1000.npz", "test", &preprocessing);
    (all.clone(), all)
}

/// Post-training accuracy with both choices of weight steps is near that of the float model, and the QDQ form is exact.
fn check(name: &str, data: fn(&Graph) -> (Dataset, Dataset), float: f64, tolerance: f64) {
    let Some(bytes) = read(&format!("models/{name}.onnx")) else {
        println!("skipped: no shared models beside the repository ({name})");
        return;
    };
    let graph = fold_batch_norm(&espalier_onnx::import(&bytes).unwrap());
    let (train, test) = data(&graph);
    let table = calibrate(&graph, &mut train.samples().take(CALIBRATION), CalibrationMethod::Range).unwrap();
    for weights in [WeightRounding::Cover, WeightRounding::SquaredError] {
        let model = quantize(&graph, &table, &QuantizeOptions { weights, ..Default::default() }).unwrap();
        let labels = test.labels.as_ref().unwrap();
        let started = std::time::Instant::now();
        let correct = ReferenceInterpreter::new(&model).evaluate(&test.inputs, labels).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let percent = 100.0 * correct as f64 / labels.len() as f64;
        let sqnr = layer_sqnr(&graph, &model, &mut train.samples().take(8)).unwrap();
        let bits = (0..model.layers.len()).map(|l| model.accumulator_bits(l)).max().unwrap();
        println!("{name}, {weights:?}: {percent:.2} %, {seconds:.2} s, {bits} bits, SQNR {sqnr:.1?} dB");
        check_qdq(&model, test.samples().take(2));
        assert!(percent >= float - tolerance, "{name}: {percent} % with {weights:?}, {float} % in float");
    }
}

fn check_qdq<'a>(model: &QuantizedGraph, samples: impl Iterator<Item = &'a [f32]>) {
    let qdq = to_qdq(model).unwrap();
    assert!(qdq.warnings.is_empty(), "{}", qdq.warnings);
    for sample in samples {
        let float = espalier_ir::evaluate(&qdq.graph, &[sample]);
        for (index, layer) in model.run(&model.quantize_input(sample)).iter().enumerate() {
            let integers: Vec<f32> = layer.iter().map(|q| f32::from(*q)).collect();
            assert!(float[&qdq.layers[index]] == integers, "{}, layer {index}", model.name);
        }
    }
}

#[test]
fn lenet() {
    check("own_mnist_lenet5_relu", |g| idx(g, "mnist", "train", 255.0), 99.14, 0.3);
}

#[test]
fn multilayer_perceptron() {
    check("own_mnist_mlp_784_64_32_10", |g| idx(g, "mnist", "train", 255.0), 97.35, 0.3);
}

#[test]
fn cntk() {
    check("onnxzoo_mnist_cntk", |g| idx(g, "mnist", "train", 1.0), 98.91, 0.3);
}

#[test]
fn fashion() {
    check("own_fashion_cnn_bn", |g| idx(g, "fashion-mnist", "train10k", 255.0), 89.81, 0.3);
}

#[test]
fn spoken_digit() {
    check("own_fsdd_dscnn", spoken_digits, 99.0, 1.0);
}

#[test]
fn resnet8() {
    check("mlperf_tiny_resnet8_cifar10", cifar, 88.1, 1.0);
}

/// Shortcuts of strided slices and zero channels.
#[test]
fn resnet20() {
    check("resnet20_cifar10", cifar_normalized, 91.5, 1.0);
}

#[test]
fn keyword() {
    check("mlperf_tiny_dscnn_kws", keywords, 91.5, 1.0);
}
