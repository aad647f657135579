"""Fashion-MNIST (Xiao et al. 2017), from its four files, compressed or not."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.environments import Unavailable

USUAL_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts it."""


@dataclass(frozen=True)
class Images:
    """``rows`` ``[rows, 28, 28]`` from 0 to 1, ``labels`` ``[rows]`` from 0 to 9."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]

    def take(self, places: NDArray[np.int64]) -> Images:
        return Images(self.rows[places], self.labels[places])


def load(folder: Path) -> tuple[Images, Images]:
    """The images to train on and to test on; :class:`Unavailable` where a file is not there."""
    train, test = (
        Images(_read(folder, f"{part}-images-idx3-ubyte").astype(np.float32) / 255, _labels(folder, part))
        for part in ("train", "t10k")
    )
    return train, test


def _labels(folder: Path, part: str) -> NDArray[np.int64]:
    return _read(folder, f"{part}-labels-idx1-ubyte").astype(np.int64)


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    """An idx file: two zeros, the type (8: bytes), the number of axes, the length of each, then the bytes."""
    for file, opened in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if file.exists():
            with opened(file, "rb") as stream:  # type: ignore[operator]
                data: bytes = stream.read()
            shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
            return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    raise Unavailable(f"no {name} in {folder}: name the folder of Fashion-MNIST with --fashion")
