#!/usr/bin/env python3
"""Cycles of Espalier's layers beside those of SCALE-Sim, somebody else's simulator of systolic arrays.

    python3 -m venv venv && venv/bin/pip install scalesim==3.0.0 'numpy<2' setuptools
    venv/bin/python tests/external/scale_sim.py MODEL.onnx [--rows 16] [--cols 16] [--espalier target/release/espalier]

Every convolution and fully connected layer becomes a matrix product of M pixels, K inputs and N outputs, weight
stationary. SCALE-Sim has no shadow weights: each of its folds pays 2 rows + cols - 2 cycles for loading, filling and
draining, so the sum of its cycles is an upper bound; multiply-accumulates / (rows * cols) is a lower one. The script
fails if Espalier's sum lies outside. Single layers may: Espalier's cycles hold residual additions and what a layer waits
for the one before it, of which SCALE-Sim knows nothing. Depthwise layers and pooling are no matrix product and are left
out.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {cols}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: {rows}
Dataflow: ws
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def espalier(executable, *arguments):
    """The JSON answer of a command."""
    output = subprocess.run([executable, "--json", "--quiet", *arguments], check=True, capture_output=True, text=True)
    return json.loads(output.stdout)


def products(executable, model):
    """Name and (M, N, K) of every layer that is a dense matrix product."""
    answer = espalier(executable, "inspect", model)
    channels = {value["name"]: value["shape"][0] for value in answer["inputs"]}
    found = {}
    for layer in answer["layers"]:
        shape = layer["out_shape"] + [1, 1]
        channels[layer["name"]] = shape[0]
        if layer["op"] not in ("Conv", "Gemm") or layer["fused_pool"]:
            continue
        outputs, pixels = shape[0], shape[1] * shape[2]
        inputs = layer["macs"] // (outputs * pixels)
        sources = sum(channels.get(name, 1) for name in layer["sources"][:1])
        grouped = layer["op"] == "Conv" and inputs % sources != 0
        if not grouped:
            found[layer["name"]] = (pixels, outputs, inputs)
    return found


def scale_sim(layers, rows, cols):
    """Compute cycles of every layer."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "a.cfg").write_text(CONFIG.format(rows=rows, cols=cols))
        lines = [f"L{i},{m},{n},{k},\n" for i, (m, n, k) in enumerate(layers)]
        (folder / "t.csv").write_text("Layer,M,N,K,\n" + "".join(lines))
        (folder / "l.csv").write_text("Layer name,IFMAP Height Intraline Factor\nL0,1,\n")
        command = [sys.executable, "-m", "scalesim.scale", "-c", "a.cfg", "-t", "t.csv", "-l", "l.csv", "-i", "gemm"]
        subprocess.run([*command, "-p", "out"], cwd=folder, check=True, capture_output=True)
        with open(folder / "out/run/COMPUTE_REPORT.csv", newline="") as report:
            records = [{key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(report)]
    key = next(k for k in ("Compute Cycles", "Total Cycles") if k in records[0])
    return [int(float(record[key])) for record in records]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--cols", type=int, default=16)
    parser.add_argument("--espalier", default="target/release/espalier")
    options = parser.parse_args()
    layers = products(options.espalier, options.model)
    shape = ["--rows", str(options.rows), "--cols", str(options.cols)]
    estimate = espalier(options.espalier, "estimate", options.model, "--target", "u250", *shape, "--lane-bytes", "65536")
    cycles = {layer["name"]: layer["dense_cycles"] for layer in estimate["layers"]}
    simulated = scale_sim(list(layers.values()), options.rows, options.cols)
    print("| layer | M x N x K | limit | Espalier | SCALE-Sim, weight stationary |")
    print("|---|---|---|---|---|")
    totals = [0, 0, 0]
    for (name, (m, n, k)), theirs in zip(layers.items(), simulated):
        limit, ours = -(-m * n * k // (options.rows * options.cols)), cycles[name]
        print(f"| {name} | {m} x {n} x {k} | {limit:,} | {ours:,} | {theirs:,} |")
        totals = [total + value for total, value in zip(totals, (limit, ours, theirs))]
    print("| all | | {:,} | {:,} | {:,} |".format(*totals))
    if not totals[0] <= totals[1] <= totals[2]:
        sys.exit("the sum of Espalier's cycles is not between the limit and SCALE-Sim's")


if __name__ == "__main__":
    main()
