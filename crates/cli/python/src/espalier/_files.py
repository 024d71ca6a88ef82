"""What Python holds, as files that the program reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Union

import numpy as np

#: An ONNX file, its bytes, or an ``onnx.ModelProto``.
Model = Union[str, "os.PathLike[str]", bytes, Any]
#: Samples along the first axis, or the path of a file or folder of any format that the program reads.
Samples = Union[np.ndarray, str, "os.PathLike[str]"]


def model_file(model: Model, folder: Path) -> Path:
    """The path of a model, written into the folder first if it is none."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model)
    content = model if isinstance(model, bytes) else model.SerializeToString()
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def samples_file(samples: Samples, folder: Path, name: str) -> str:
    """The path of samples, written into the folder first if they are an array."""
    if isinstance(samples, (str, os.PathLike)):
        return os.fspath(samples)
    array = np.asarray(samples)
    if array.dtype.kind == "f" and array.itemsize != 4:
        array = array.astype(np.float32)
    path = folder / f"{name}.npy"
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    return str(path)


def options(values: dict[str, Any]) -> list[str]:
    """``{"lane_bytes": 4096}`` as ``["--lane-bytes", "4096"]``; what is None is left out, what is true has no value."""
    words: list[str] = []
    for key, value in values.items():
        name = "--" + key.replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            listed = isinstance(value, (list, tuple, np.ndarray))
            words += [name, ",".join(map(str, value)) if listed else str(value)]
    return words
