"""The mean of several versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.networks.draft import Draft


class Average(Edit):
    """Gives network and output the mean weights of ``versions`` (model soups, Wortsman et al. 2022)."""

    type: Literal["average"] = "average"
    versions: list[int] = Field(min_length=1, max_length=100)

    def fill(self, draft: Draft) -> None:
        import torch

        if draft.sources.weights_of is None:
            raise ValueError("no kept version can be read here")
        found = {version: draft.sources.weights_of(version) for version in self.versions}
        for name, value in draft.old.items():
            if not name.startswith(("network.", "output.")):
                continue
            all_of_it = [_fitting(version, name, value, found[version].get(name)) for version in self.versions]
            if value.is_floating_point():
                draft.set(name, torch.stack([part.double() for part in all_of_it]).mean(0).to(value.dtype))
                draft.forget(name)


def _fitting(version: int, name: str, own: Tensor, other: Tensor | None) -> Tensor:
    if other is None or other.shape != own.shape:
        has = "no such weight" if other is None else f"{list(other.shape)}"
        raise ValueError(
            f"version {version} is of another structure: {name} is {list(own.shape)} here, and {has} there"
        )
    return other
