"""What the commands answer: the JSON as it is in ``data``, the figures that people ask for as attributes."""

from __future__ import annotations

import html
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np

from ._files import Samples, options, samples_file
from ._program import call


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        text = f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else str(value)
        return f"<td>{html.escape(text)}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True)
class Result:
    """An answer of the program."""

    #: The JSON.
    data: dict[str, Any] = field(repr=False)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]


@dataclass(frozen=True)
class Inspection(Result):
    """Nodes of a model, and the layers of the accelerator that they become."""

    @property
    def parameters(self) -> int:
        """Trained values."""
        return self.data["parameters"]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return self.data["macs"]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """One entry for each accelerator layer."""
        return self.data["layers"]

    def _repr_html_(self) -> str:
        rows = [
            [" + ".join(layer["nodes"]), " × ".join(map(str, layer["out_shape"])), layer["macs"]] for layer in self.layers
        ]
        head = f"<p><b>{html.escape(self.data['model'])}</b>: {self.parameters:,} parameters, {self.macs:,} MACs</p>"
        return head + _table(["layer", "output", "MACs"], rows)


@dataclass(frozen=True)
class Estimate(Result):
    """What a model costs on a target."""

    @property
    def cycles(self) -> int:
        """Clock cycles of one sample, loading and storing included."""
        return self.data["cycles"]

    @property
    def latency_ms(self) -> float:
        """Milliseconds of one sample at the target's clock."""
        return self.data["latency_ms"]

    @property
    def energy_uj(self) -> float:
        """Microjoules of one sample; ``data["energy_confidence"]`` says how sure that is."""
        return self.data["energy_uj"]

    @property
    def utilization(self) -> float:
        """Multiply-accumulates for each cycle and array element, 0 to 1."""
        return self.data["utilization"]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """One entry for each accelerator layer."""
        return self.data["layers"]

    def _repr_html_(self) -> str:
        rows = [
            [one["name"], one["macs"], one["cycles"], f"{100 * one['utilization']:.1f} %", one["bottleneck"]]
            for one in self.layers
        ]
        head = (
            f"<p><b>{html.escape(self.data['model'])}</b> on {html.escape(self.data['target'])}: {self.cycles:,} cycles, "
            f"{self.latency_ms:.4g} ms at {self.data['clock_mhz']:g} MHz ({self.data['clock_confidence']}), "
            f"{self.energy_uj:.4g} µJ ({self.data['energy_confidence']})</p>"
        )
        return head + _table(["layer", "MACs", "cycles", "utilization", "limited by"], rows)


@dataclass(frozen=True)
class Report(Result):
    """``report.json`` of a design; shown in a notebook as its HTML page."""

    #: The folder of the design.
    folder: Path = Path(".")

    @property
    def cycles(self) -> int:
        """Predicted clock cycles of one sample; a verified design takes exactly these."""
        return self.data["cycles"]["predicted"]

    @property
    def cycles_dense(self) -> int:
        """Clock cycles of the given model on the same array."""
        return self.data["cycles"]["dense"]

    @property
    def accuracy(self) -> Optional[float]:
        """Accuracy of the integers on the test samples, 0 to 1; None if it was not measured."""
        return (self.data["accuracy"]["int8"] or {}).get("value")

    @property
    def accuracy_before(self) -> Optional[float]:
        """Accuracy of the given model on the test samples, 0 to 1; None if it was not measured."""
        return (self.data["accuracy"]["baseline"] or {}).get("value")

    @property
    def budget_met(self) -> Optional[bool]:
        """Whether every budget is met; None without budgets."""
        return self.data["budget"] and self.data["budget"]["met"]

    @property
    def verified(self) -> bool:
        """Whether engines were compared and agree on every element of every layer, and on the cycles."""
        found = self.data["verification"]
        return bool(found) and found["mismatches"] == 0 and found["cycles_equal"] is not False

    @property
    def layers(self) -> list[dict[str, Any]]:
        """One entry for each accelerator layer."""
        return self.data["layers"]

    @property
    def html(self) -> str:
        """The page ``report.html``."""
        return (self.folder / "report.html").read_text(encoding="utf-8")

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        style = "width:100%;height:720px;border:1px solid #8888"
        return f'<iframe title="Report of {html.escape(self.data["model"]["name"])}" style="{style}" srcdoc="{page}"></iframe>'


@dataclass(frozen=True)
class Design:
    """A folder that `compile`, `run` or `prune` wrote."""

    folder: Path

    def __init__(self, folder: Union[str, "os.PathLike[str]"]) -> None:
        object.__setattr__(self, "folder", Path(folder))

    @property
    def report(self) -> Report:
        """The report as it is now."""
        return Report(json.loads((self.folder / "report.json").read_text(encoding="utf-8")), self.folder)

    def verify(
        self,
        inputs: Optional[Samples] = None,
        *,
        samples: Optional[int] = None,
        engines: Optional[Sequence[str]] = None,
        layout: Optional[str] = None,
        seed: Optional[int] = None,
        quiet: bool = True,
    ) -> Report:
        """Compares the engines on every element of every layer, and the cycles with the prediction.

        ``inputs`` are samples as the model takes them (by default those stored in the design, then random ones).
        ``engines`` are some of reference, machine, verilator and hls; by default all whose tools are there.

        Raises CheckFailed if anything differs.
        """
        with tempfile.TemporaryDirectory() as temporary:
            data = None
            if inputs is not None:
                data = samples_file(inputs, Path(temporary), "inputs")
                if samples is None and isinstance(inputs, np.ndarray):
                    samples = len(inputs)
            given = {"samples": samples, "data": data, "engines": engines, "layout": layout, "seed": seed}
            call("verify", self.folder, *options(given), quiet=quiet)
        return self.report

    def infer(self, inputs: np.ndarray, *, engine: str = "machine", raw: bool = False, quiet: bool = True) -> np.ndarray:
        """Outputs of one engine: float, reference, machine, verilator or hls.

        ``inputs`` are samples as the model takes them, or int8 samples that are quantized already. With ``raw`` the
        outputs are the int8 values of the hardware.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            given = {"engine": engine, "raw": raw, "out": folder / "outputs.npy"}
            call("infer", self.folder, "--input", samples_file(inputs, folder, "inputs"), *options(given), quiet=quiet)
            return np.load(folder / "outputs.npy", allow_pickle=False)

    def synth(self, *, freq: Optional[float] = None, map_only: bool = False, quiet: bool = True) -> Report:
        """Maps, places and routes with open tools; measured figures then stand beside the estimates."""
        call("synth", self.folder, *options({"freq": freq, "map_only": map_only}), quiet=quiet)
        return self.report

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


@dataclass(frozen=True)
class Comparison:
    """Several designs on one page."""

    #: The page.
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        style = "width:100%;height:720px;border:1px solid #8888"
        return f'<iframe title="Comparison" style="{style}" srcdoc="{html.escape(self.html, quote=True)}"></iframe>'
