"""The package against the built program (environment variable ESPALIER), with models of onnx and arrays of numpy."""

import html
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import espalier

SIDE = 12


def network():
    """A convolution, a pool and a classifier of four classes, with weights of a fixed seed."""
    random = np.random.default_rng(1)

    def weight(name, *shape):
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array((scale * random.standard_normal(shape)).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], name="conv2", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["y"], name="fc", transB=1),
    ]
    weights = [weight("w1", 8, 1, 3, 3), weight("w2", 12, 8, 3, 3), weight("w3", 4, 12 * 4 * 4)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])]
    graph = helper.make_graph(nodes, "bars", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def bars(count, seed):
    """Pictures of a bar; the class says its direction and half."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    pictures = 0.1 * random.standard_normal((count, 1, SIDE, SIDE))
    for picture, label in zip(pictures, labels):
        at = random.integers(0, SIDE // 2) + (SIDE // 2) * (label // 2)
        if label % 2:
            picture[0, at, :] += 1
        else:
            picture[0, :, at] += 1
    return pictures, labels


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    folder = tmp_path_factory.mktemp("designs")
    inputs, _ = bars(32, seed=2)
    return espalier.compile(network(), "ecp5-85f", inputs, folder / "plain", sparsity=0.3, rows=8, cols=8)


def test_a_model_is_inspected_from_memory_bytes_and_file(tmp_path):
    model = network()
    onnx.save(model, tmp_path / "model.onnx")
    found = [espalier.inspect(m) for m in (model, model.SerializeToString(), tmp_path / "model.onnx")]
    assert found[0].parameters == 8 * 9 + 12 * 8 * 9 + 4 * 192
    assert found[0].macs == 8 * 9 * 144 + 12 * 72 * 16 + 4 * 192
    assert [len(one.layers) for one in found] == [3, 3, 3]
    assert "conv1" in found[0]._repr_html_()


def test_estimates_follow_the_array():
    small = espalier.estimate(network(), "ecp5-85f", rows=4, cols=4)
    large = espalier.estimate(network(), "ecp5-85f", rows=8, cols=8)
    assert 0 < large.cycles < small.cycles
    assert large.latency_ms == pytest.approx(large.cycles / large["clock_mhz"] / 1000)
    assert sum(layer["cycles"] for layer in large.layers) <= large.cycles
    assert f"{large.cycles:,}" in large._repr_html_()


def test_the_hardware_computes_what_numpy_says(design):
    inputs, _ = bars(6, seed=3)
    reference = design.infer(inputs, engine="reference")
    assert reference.shape[0] == 6 and reference.dtype == np.float32
    assert np.array_equal(reference, design.infer(inputs, engine="machine"))
    integers = design.infer(inputs, raw=True)
    assert integers.dtype == np.int8 and len(np.unique(integers)) > 3
    float32 = inputs.astype(np.float32)
    pruned = ReferenceEvaluator(str(design.folder / "model.onnx"))
    expected = np.concatenate([pruned.run(None, {"x": one[None]})[0] for one in float32])
    floats = design.infer(inputs, engine="float").reshape(expected.shape)
    np.testing.assert_allclose(floats, expected, rtol=1e-4, atol=1e-4)
    # Eight bits are near the floats, and not equal to them.
    error = np.abs(reference.reshape(expected.shape) - expected).max()
    assert 0 < error < 0.1 * np.abs(expected).max()


def test_verification_is_in_the_report(design):
    inputs, _ = bars(3, seed=4)
    assert not design.report.verified
    report = design.verify(inputs, engines=["reference", "machine"])
    assert report.verified and report["verification"]["inputs"] == 3 and report["verification"]["elements"] > 0
    assert report.cycles < report.cycles_dense
    assert report.accuracy is None and report.budget_met is None
    shown = design._repr_html_()
    assert shown.startswith("<iframe") and shown.count("<") == 2, "the page is escaped whole"
    assert html.unescape(shown.split('srcdoc="')[1].rsplit('"', 1)[0]) == report.html


def test_a_model_is_pruned_with_arrays_alone(tmp_path, capsys):
    done = espalier.prune(
        network(),
        train=bars(400, seed=5),
        test=bars(100, seed=6),
        target="ecp5-85f",
        out=tmp_path / "pruned",
        budget={"cycles_fraction": 0.6, "max_accuracy_drop": 100.0},
        accelerator={"rows": 8, "cols": 8},
        # The network is not trained: there is nothing to learn from its outputs.
        prune={"steps": 1, "final_epochs": 15, "learning_rate": 0.03, "distillation": 0.0},
        quantize={"qat_epochs": 0},
        verify={"samples": 2, "engines": ["reference", "machine"]},
    )
    assert "Pruning" in capsys.readouterr().err, "progress is shown"
    report = done.report
    assert report.verified and report.budget_met
    assert report.cycles <= 0.6 * report.cycles_dense
    assert report.accuracy > report.accuracy_before and report.accuracy > 0.6
    page = espalier.compare([done, done])
    assert "Side by side" in page.html and page._repr_html_().startswith("<iframe")


def test_findings_are_exceptions(tmp_path, design):
    with pytest.raises(espalier.EspalierError) as unknown:
        espalier.estimate(network(), "no-such-device")
    assert unknown.value.findings[0]["code"] == "unknown-target" and "no-such-device" in str(unknown.value)
    with pytest.raises(espalier.EspalierError, match="not-a-key"):
        espalier.prune(network(), bars(9, 1), bars(9, 2), "ecp5-85f", tmp_path / "out", budget={"not-a-key": 1})
    with pytest.raises(espalier.EspalierError):
        espalier.inspect(b"no model")
    with pytest.raises(espalier.EspalierError, match="--no-such-option"):
        espalier.estimate(network(), "ecp5-85f", no_such_option=1)
    with pytest.raises(espalier.EspalierError, match="shape"):
        design.infer(np.zeros((2, 5), np.float32))


def test_a_failed_check_has_its_answer(tmp_path):
    inputs, _ = bars(8, seed=2)
    broken = espalier.compile(network(), "ecp5-85f", inputs, tmp_path / "broken", rows=8, cols=8)
    weights = broken.folder / "memory" / "weights.hex"
    # One digit of every word.
    words = weights.read_text().splitlines()
    weights.write_text("".join(f"{word[:-1]}{'5' if word.endswith('4') else '4'}\n" for word in words))
    with pytest.raises(espalier.CheckFailed) as failed:
        broken.verify(samples=2, engines=["reference", "machine"])
    assert str(failed.value).startswith("error[mismatch]")
    assert failed.value.answer["verification"]["mismatches"] > 0
    assert not broken.report.verified


def test_targets_are_listed():
    names = json.dumps(espalier.targets())
    assert "ecp5-85f" in names and "xc7z020" in names


def test_a_missing_program_is_explained(monkeypatch):
    monkeypatch.setenv("ESPALIER", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(espalier.EspalierError, match="cargo install"):
        espalier.targets()
