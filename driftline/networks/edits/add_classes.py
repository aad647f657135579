"""More classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, StrictInt, StrictStr

from driftline.networks.edits import Edit, Edited, Kept

if TYPE_CHECKING:
    from driftline.networks.build import Served
    from driftline.spec import ModelSpec

FIRST_BIAS = -4.0


class AddClasses(Edit):
    """New rows in the output layer. The logits of the old classes stay as they are; a new class starts as an unlikely one."""

    type: Literal["add_classes"] = "add_classes"
    classes: list[StrictInt | StrictStr] = Field(min_length=1)

    def apply(self, spec: ModelSpec, classes: Sequence[int | str], module: Served) -> Edited:
        import torch
        from torch import nn
        from torch.nn.utils import skip_init

        if spec.task != "classification":
            raise ValueError("a regression has no classes")
        keys = [(type(name), name) for name in [*classes, *self.classes]]
        for name in self.classes:
            if keys.count((type(name), name)) > 1:
                raise ValueError(f"there is a class {name!r} already")
        old = module.output
        if not isinstance(old, nn.Linear):
            raise ValueError('the network has its own output ("output": "own"), which takes no more classes')
        new: nn.Linear = skip_init(nn.Linear, old.in_features, old.out_features + len(self.classes))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            new.weight.zero_()
            # The first classes of all start level; later ones must not take probability from those that are known.
            new.bias.fill_(FIRST_BIAS if classes else 0.0)
            new.weight[: old.out_features] = old.weight
            new.bias[: old.out_features] = old.bias
        edited = copy.deepcopy(module)
        edited.output = new
        if edited.experts is not None:
            edited.experts.add_classes(len(self.classes))  # type: ignore[operator]
        both = [*classes, *self.classes]
        changed = spec if spec.classes == "open" else spec.changed(classes=both)
        kept = [Kept(name, name, old.out_features) for name in ("output.weight", "output.bias")]
        return Edited(changed, both, edited, kept)
