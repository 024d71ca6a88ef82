"""The commands, with models and arrays of Python."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import tomli_w

from ._files import Model, Samples, model_file, options, samples_file
from ._program import call
from ._results import Comparison, Design, Estimate, Inspection

#: Samples and their labels, or the path of a data set that has both.
Labelled = Union["tuple[Samples, Samples]", str, "os.PathLike[str]"]


def targets() -> list[dict[str, Any]]:
    """The known devices and boards, as ``espalier targets`` lists them."""
    return call("targets")


def inspect(model: Model) -> Inspection:
    """Nodes, shapes and operations of a model, and how it maps to the accelerator.

    Raises EspalierError with everything that does not map, at once.
    """
    with tempfile.TemporaryDirectory() as folder:
        return Inspection(call("inspect", model_file(model, Path(folder))))


def estimate(model: Model, target: str, **accelerator: Any) -> Estimate:
    """Cycles, latency, energy and resources of a model on a target, without data.

    ``accelerator`` are options of ``espalier estimate``, such as ``rows=8, cols=8, combine=2``.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = model_file(model, Path(folder))
        return Estimate(call("estimate", path, "--target", target, *options(accelerator)))


def compile(
    model: Model,
    target: str,
    calibration: Samples,
    out: Union[str, "os.PathLike[str]"],
    *,
    sparsity: Optional[float] = None,
    layout: Optional[str] = None,
    quiet: bool = True,
    **accelerator: Any,
) -> Design:
    """Hardware for a model as it is, without training.

    ``calibration`` are samples as the model takes them; they choose the scales. ``layout="nhwc"`` if their channels come
    last. ``sparsity`` prunes by magnitude until this share of the cycles is gone.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = samples_file(calibration, folder, "calibration")
        given = {"target": target, "calibration": data, "out": out, "sparsity": sparsity, "layout": layout, **accelerator}
        call("compile", model_file(model, folder), *options(given), quiet=quiet)
    return Design(out)


def run(
    project: Union[str, "os.PathLike[str]"],
    out: Union[str, "os.PathLike[str]"],
    *,
    seed: Optional[int] = None,
    resume: bool = False,
    quiet: bool = False,
) -> Design:
    """A whole project file: prune, fine-tune, quantize, generate, verify, report.

    Raises CheckFailed if a budget, the accuracy or the comparison fails.
    """
    call("run", Path(project), *options({"out": out, "seed": seed, "resume": resume}), quiet=quiet)
    return Design(out)


def prune(
    model: Model,
    train: Labelled,
    test: Labelled,
    target: str,
    out: Union[str, "os.PathLike[str]"],
    *,
    budget: dict[str, Any],
    layout: Optional[str] = None,
    seed: int = 0,
    quiet: bool = False,
    **sections: dict[str, Any],
) -> Design:
    """Prunes a model to a budget under the cost of a target, fine-tunes it, and compiles and verifies the hardware.

    ``train`` and ``test`` are pairs of samples, as the model takes them, and class numbers. ``budget`` and ``sections``
    (``accelerator``, ``prune``, ``train_options``, ``quantize``, ``verify``) hold keys of the project file, such as
    ``budget={"cycles_fraction": 0.5, "max_accuracy_drop": 1.0}, prune={"steps": 2}``; see ``espalier schema``.

    Raises CheckFailed if a budget, the accuracy or the comparison fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data: dict[str, Any] = {}
        for part, given in (("train", train), ("test", test)):
            if isinstance(given, tuple):
                samples, labels = given
                labels = np.asarray(labels) if not isinstance(labels, (str, os.PathLike)) else labels
                data[part] = os.path.abspath(samples_file(samples, folder, part))
                data[part + "_labels"] = os.path.abspath(samples_file(labels, folder, part + "_labels"))
            else:
                data[part] = os.path.abspath(given)
        if layout is not None:
            data["preprocessing"] = {"layout": layout}
        if "train_options" in sections:
            sections["train"] = sections.pop("train_options")
        project = {
            "seed": seed,
            "model": {"path": os.path.abspath(model_file(model, folder))},
            "data": data,
            "target": {"name": target},
            "budget": budget,
            **sections,
        }
        path = folder / "espalier.toml"
        path.write_text(tomli_w.dumps(project), encoding="utf-8")
        return run(path, out, quiet=quiet)


def compare(designs: Sequence[Union[Design, str, "os.PathLike[str]"]]) -> Comparison:
    """Several designs side by side, on one page."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "compare.html"
        folders = [design.folder if isinstance(design, Design) else design for design in designs]
        call("report", *folders, "--out", page)
        return Comparison(page.read_text(encoding="utf-8"))
