# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs test_top.py in Icarus Verilog: `run.py FOLDER`, with a design in FOLDER/rtl and FOLDER/job.json."""

import os
import sys
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner


def main():
    folder = Path(sys.argv[1]).resolve()
    files = [folder / "rtl" / line for line in (folder / "rtl/files.f").read_text(encoding="utf-8").split()]
    runner = get_runner("icarus")
    runner.build(
        sources=[*files, folder / "rtl/espalier_top.v"],
        hdl_toplevel="espalier_top",
        build_args=["-g2012"],
        timescale=("1ns", "1ps"),
        build_dir=folder / "build",
    )
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    results = runner.test(
        test_module="test_top",
        hdl_toplevel="espalier_top",
        build_dir=folder / "build",
        test_dir=folder,
        results_xml=str(folder / "results.xml"),
        extra_env={"ESPALIER_JOB": str(folder / "job.json"), "COCOTB_LOG_LEVEL": "WARNING"},
    )
    tests, failed = get_results(results)
    print(f"{tests} tests, {failed} failed")
    sys.exit(failed != 0 or tests == 0)


if __name__ == "__main__":
    main()
