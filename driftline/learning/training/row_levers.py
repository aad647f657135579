"""Which levers of a recipe a table with a sparse gradient can have."""

from __future__ import annotations

from collections.abc import Iterator

from driftline.errors import InvalidInput
from driftline.learning.training.row_optimizers import ROW_UPDATES
from driftline.networks.row_table import row_tables
from driftline.networks.served_model import ServedModel
from driftline.spec import Recipe


def check_row_tables(recipe: Recipe, module: ServedModel) -> None:
    """:class:`InvalidInput` names the lever that would change every row of a table at each update, and the table's layer."""
    layers = [name.removeprefix("network.").removesuffix(".weight") for name, _ in row_tables(module)]
    for field, value, reason in _unfit(recipe) if layers else ():
        message = f"{field}: {reason}, and the gradient of layer {layers[0]!r} is of the rows of a batch alone; "
        raise InvalidInput(f"{message}leave it out, or make the layer not sparse", field=field, value=value)


def _unfit(recipe: Recipe) -> Iterator[tuple[str, object, str]]:
    """The levers that work on all rows at once: their field, their value, and why."""
    optimizer = recipe.optimizer
    if optimizer.name not in ROW_UPDATES:
        known = ", ".join(ROW_UPDATES)
        yield (
            "recipe.optimizer",
            optimizer.name,
            f"{optimizer.name} changes all weights at each update ({known} do not)",
        )
    if optimizer.momentum:
        yield "recipe.optimizer.momentum", optimizer.momentum, "a momentum moves all weights at each update"
    if recipe.strategy is not None and recipe.strategy.name == "ewc":
        yield "recipe.strategy", "ewc", "ewc pulls all weights at each update"
    if recipe.averaging is not None:
        name = recipe.averaging.name
        yield "recipe.averaging", name, f"{name} takes all weights into a mean"
    if recipe.l2_sp is not None:
        yield "recipe.l2_sp", recipe.l2_sp.model_dump(), "l2_sp pulls all weights at each update"
    if recipe.max_norm is not None:
        yield (
            "recipe.max_norm",
            recipe.max_norm.model_dump(),
            "max_norm limits the vectors of all rows after each update",
        )
