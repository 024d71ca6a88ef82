"""Espalier from Python: a trained ONNX model and numpy arrays in, a verified accelerator and its report out.

A thin, typed wrapper of the command line: every function runs ``espalier --json ...`` and returns what it answers. The
program is taken from the environment variable ``ESPALIER`` if it is set, else from the search path.
"""

from ._commands import compare, compile, estimate, inspect, prune, run, targets
from ._program import CheckFailed, EspalierError, call
from ._results import Comparison, Design, Estimate, Inspection, Report

__all__ = [
    "CheckFailed",
    "Comparison",
    "Design",
    "EspalierError",
    "Estimate",
    "Inspection",
    "Report",
    "call",
    "compare",
    "compile",
    "estimate",
    "inspect",
    "prune",
    "run",
    "targets",
]
