"""Whether a network of a user's own can be served and trained, tried out before a model of it is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor

from driftline.errors import DriftlineError, InvalidInput
from driftline.learning.course import Course
from driftline.learning.examples import Examples
from driftline.learning.training.losses.custom import LossFailed
from driftline.networks import bundle, sealed
from driftline.networks.build import build
from driftline.networks.clone import sibling
from driftline.networks.input_tensors import input_tensors
from driftline.networks.model import Model
from driftline.networks.seeded import seeded
from driftline.networks.served_model import ServedModel, evaluating
from driftline.networks.user_code import reason_of, user_code
from driftline.rows.rows import Rows, made_up
from driftline.spec import Factory, ModelSpec
from driftline.spec.classes import ClassTable
from driftline.spec.tensors import length_name

ROWS = 8
TOLERANCE = 1e-3
"""Sums of another order differ by less, relative to the largest answer."""
ROUGH_TOLERANCE = 5e-2
"""The same of numbers of 16 bits."""


class Misfit(Exception):
    """What a trial has found, in one sentence."""


def check_network(model: Model, factories: Collection[str] = (), example: Rows | None = None) -> None:
    """Tries out a network, or a loss, of a user's own: answers, independence of batch mates, a step of training, a file.

    The model stays as it is. Networks given by layers are not tried: what they consist of is.

    Args:
        example: rows that it is tried on; without them rows are made up.

    Raises:
        InvalidInput: ``network_unfit``: the message has a sentence for each thing that is wrong, and ``problems`` lists them.
    """
    if not isinstance(model.spec.network, Factory) and model.spec.loss_function is None:
        return
    with seeded(0):
        found = list(_problems(model, factories, _trial_rows(model.spec, example)))
    if found:
        message = f"network: {'; '.join(found)}"
        raise InvalidInput(message, code="network_unfit", field="network", problems=found)


def check_answers(model: Model) -> None:
    """Whether weights that were brought along answer with finite numbers; :class:`InvalidInput` ``not_finite`` where not.

    Weights may each be finite, and their products beyond what a number can be.
    """
    for fill in (0, 1):
        rows = input_tensors(model.spec, made_up(model.spec, fill).tensors)
        with torch.no_grad():
            if not bool(evaluating(model.module)(rows).isfinite().all()):
                message = f"weights: the answer to a row of {fill} throughout is no finite number"
                raise InvalidInput(message, code="not_finite", field="weights")


def _problems(model: Model, factories: Collection[str], rows: dict[str, Tensor]) -> Iterator[str]:
    """A sentence for each trial that fails; what fails to answer is tried no further."""
    try:
        answers = _answers(model, rows)
    except Misfit as misfit:
        yield str(misfit)
        return
    varies = [*_told(lambda: _try_again(model, rows, answers))]
    yield from varies
    # What answers otherwise each time also does so alone and from a file, and is not told of again.
    if not varies:
        yield from _told(lambda: _try_alone(model, rows, answers))
        yield from _told(lambda: _try_file(model, factories, rows, answers))
    yield from _told(lambda: _try_step(model, rows))


def _told(trial: Callable[[], None]) -> Iterator[str]:
    try:
        trial()
    except Misfit as misfit:
        yield str(misfit)


def _trial_rows(spec: ModelSpec, example: Rows | None) -> dict[str, Tensor]:
    """:data:`ROWS` rows as tensors: those of the example in turn, or made-up ones."""
    if example is not None:
        places = [place % len(example) for place in range(ROWS)]
        return input_tensors(spec, {name: array[places] for name, array in example.tensors.items()})
    if spec.fields is not None:
        made = Rows.joined([made_up(spec, place % 2) for place in range(ROWS)])
        return input_tensors(spec, made.tensors)
    lengths = {length_name(name): tensor.padded_shape[0] for name, tensor in spec.sequences.items()}
    found = {name: _drawn(list(tensor.shape), tensor.dtype) for name, tensor in spec.tensors.items()}
    for name, longest in lengths.items():
        found[name] = torch.arange(ROWS) % min(longest, ROWS - 1) + 1
        rows = found[name.removesuffix(length_name(""))]
        rows[torch.arange(rows.shape[1]) >= found[name].unsqueeze(1)] = 0
    return found


def _drawn(shape: list[int], dtype: str) -> Tensor:
    """Rows of numbers that differ from row to row; whole ones are 0 and 1, which index any table."""
    if "float" in dtype:
        return torch.randn((ROWS, *shape)).to(getattr(torch, dtype))
    return torch.randint(0, 2, (ROWS, *shape), dtype=getattr(torch, dtype))


def _answers(model: Model, rows: dict[str, Tensor]) -> Tensor:
    """The answers to one row and to all of them ``[rows, width]``; :class:`Misfit` where they cannot be had."""
    one, found = (_computed(model.module, _first(rows, count)) for count in (1, ROWS))
    for count, outputs in ((1, one), (ROWS, found)):
        wanted = [count, model.module.width]
        if list(outputs.shape) != wanted:
            raise Misfit(
                f"for a batch of {_rows(count)} it gives numbers of the shape {list(outputs.shape)}, not {wanted}: the rows "
                "of a batch are the first dimension of what it takes and gives"
            )
    if not bool(found.isfinite().all()):
        raise Misfit("its answers are not finite numbers")
    return found


def _computed(module: ServedModel, rows: dict[str, Tensor]) -> Tensor:
    count = len(next(iter(rows.values())))
    try:
        with user_code("the network"), torch.no_grad():
            return evaluating(module)(rows)  # type: ignore[no-any-return]
    except DriftlineError as error:
        raise Misfit(f"on a batch of {_rows(count)} it fails: {reason_of(error)}") from error


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _first(rows: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: value[:count] for name, value in rows.items()}


def _differ(model: Model, one: Tensor, other: Tensor) -> bool:
    sizes = [weight.element_size() for weight in model.module.network.parameters() if weight.is_floating_point()]
    tolerance = ROUGH_TOLERANCE if min(sizes, default=4) < 4 else TOLERANCE
    return not (one - other).abs().max().item() <= tolerance * max(1.0, other.abs().max().item())


def _try_again(model: Model, rows: dict[str, Tensor], answers: Tensor) -> None:
    if _differ(model, _computed(model.module, rows), answers):
        raise Misfit(
            "in evaluation it answers the same rows otherwise each time: something in it draws random numbers or changes while "
            "it answers (a dropout that is called as a function needs training=self.training)"
        )


def _try_alone(model: Model, rows: dict[str, Tensor], answers: Tensor) -> None:
    alone = [
        _computed(model.module, {name: value[row : row + 1] for name, value in rows.items()}) for row in range(ROWS)
    ]
    if _differ(model, torch.cat(alone), answers):
        raise Misfit(
            "its answer to a row depends on the other rows of the batch, and calls of many clients are answered in one: in "
            "evaluation nothing may be computed over the first dimension (batch normalisation needs its running statistics)"
        )


def _try_file(model: Model, factories: Collection[str], rows: dict[str, Tensor], answers: Tensor) -> None:
    tensors = model.module.state_dict()
    # What a file does to large tensors it does to small ones, and these take no time.
    large = {name: tensor for name, tensor in tensors.items() if tensor.nbytes >= sealed.MIN_CONSTANT_BYTES}
    written = bundle.weights_to_bytes({name: tensor for name, tensor in tensors.items() if name not in large})
    again = build(model.spec, model.classes, factories=factories, seed=0)
    bundle.load(again, large | bundle.weights_from_bytes(written))
    if _differ(model, _computed(again, rows), answers):
        raise Misfit(
            "written to a file and read again it answers otherwise: a tensor that it computes with is neither a parameter nor "
            "a buffer of it (register_buffer makes it one), or its factory builds another network each time"
        )


def _try_step(model: Model, rows: dict[str, Tensor]) -> None:
    if not model.module.width:
        return
    copied = Model(model.spec, model.classes, sibling(model.module))
    course = Course.begin(copied, ClassTable(model.classes), 0)
    examples = Examples(rows, _targets(model), torch.ones(ROWS))
    try:
        with user_code("the network"), course.state.drawing():
            refused = course.step(examples)
    except (DriftlineError, LossFailed) as error:
        raise Misfit(f"a step of training fails: {reason_of(error)}") from error
    if refused is not None:
        raise Misfit(f"a step of training fails: {refused}")
    trained = course.state.parameters.values()
    if all(weight.grad is None for weight in trained):
        raise Misfit(
            "a step of training changes nothing: no weight that is trained has a gradient (a detach, or no_grad?)"
        )


def _targets(model: Model) -> Tensor:
    """A label for each row."""
    spec, width = model.spec, model.module.width
    if spec.kind.has_one_class:
        return torch.arange(ROWS) % width
    if spec.kind.is_multilabel:
        return torch.arange(ROWS * width).reshape(ROWS, width).remainder(2).float()
    values = torch.linspace(0, 1, ROWS * width).reshape(ROWS, width)
    return values if spec.values.has_several else values[:, 0]
