"""Whatever code of a user's own raises, one error says what has failed and how."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline.errors import DriftlineError, InvalidInput, UserCodeFailed
from driftline.networks.build import build
from driftline.networks.clone import clone
from driftline.networks.edit_session import Sources
from driftline.networks.edits import apply_all
from driftline.networks.layers.linear import LinearBuilder
from driftline.networks.model import Model
from driftline.networks.user_code import reason_of, user_code
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import parse_edits
from tests.networks.factories import Failing, Head

FACTORY = "tests.networks.factories:failing"


class WithoutWords(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (KeyError("name"), "KeyError: 'name'"),
        (WithoutWords(), "WithoutWords: WithoutWords"),
        (StopIteration(), "StopIteration: StopIteration"),
    ],
    ids=str,
)
def test_any_error_becomes_one_that_says_what_has_failed(error: Exception, reason: str) -> None:
    with pytest.raises(UserCodeFailed) as failed, user_code("the network of m"):
        raise error
    assert failed.value.message == f"the network of m failed: {reason}"
    assert (failed.value.reason, reason_of(failed.value), reason_of(error)) == (reason, reason, reason)
    assert failed.value.details == {"what": "the network of m", "reason": reason}
    assert failed.value.__cause__ is error


@pytest.mark.parametrize("error", [InvalidInput("no"), DriftlineError("no"), KeyboardInterrupt()], ids=repr)
def test_an_error_of_our_own_and_an_interrupt_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as passed, user_code("the network of m"):
        raise error
    assert passed.value is error


def test_code_that_does_not_fail_gives_what_it_gives() -> None:
    with user_code("the network of m"):
        found = 3
    assert found == 3


def model(place: str) -> Model:
    spec = parse(
        ModelSpec,
        {
            "name": "m",
            "task": "classification",
            "classes": ["a", "b"],
            "inputs": {"shape": [4]},
            "network": {"factory": FACTORY, "arguments": {"place": place}},
            "recipe": {"strategy": "replay"},
        },
    )
    return Model(spec, ["a", "b"], build(spec, ["a", "b"], factories=[FACTORY], seed=0))


def test_a_network_that_fails_is_not_built() -> None:
    with pytest.raises(InvalidInput) as refused:
        model("forward")
    assert refused.value.message == f"network.factory: {FACTORY} failed: LookupError: today"
    assert isinstance(refused.value.__cause__, LookupError)


@pytest.mark.parametrize(
    ("place", "edit", "reason"),
    [
        ("reset_parameters", {"type": "reinitialise"}, "reset_parameters of Head failed: LookupError: today"),
        ("reset_parameters", {"type": "shrink_and_perturb"}, "reset_parameters of Head failed: LookupError: today"),
        (
            "forward of many rows",
            {"type": "reinitialise", "layers": ["stack.0"], "units": "dead"},
            "the network failed: LookupError: today",
        ),
        (
            "add_classes",
            {"type": "add_classes", "classes": ["c"]},
            "add_classes of the network failed: LookupError: to 1",
        ),
        (
            "keep_classes",
            {"type": "remove_classes", "classes": ["a"]},
            "keep_classes of the network failed: LookupError",
        ),
        ("copy", {"type": "freeze", "layers": ["head"]}, "the copy of a Failing failed: LookupError: today"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_an_edit_in_which_a_network_fails_is_refused_by_its_index(
    place: str, edit: dict[str, Any], reason: str
) -> None:
    before = model("")
    for part in before.module.network.modules():
        if isinstance(part, Failing | Head):
            part.place = place
    with pytest.raises(InvalidInput) as refused:
        apply_all(parse_edits([edit]), before, Sources(inputs={"inputs": torch.zeros(3, 4)}))
    assert refused.value.message.startswith(f"edits.0 ({edit['type']}): {reason}")
    assert refused.value.details["field"] == "edits.0"


def test_a_network_that_cannot_be_copied_says_so() -> None:
    module = model("").module
    assert isinstance(module.network, Failing)
    module.network.place = "copy"
    with pytest.raises(UserCodeFailed, match="the copy of a Failing failed: LookupError: today"):
        clone(module)


def test_a_layer_of_a_package_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(self: LinearBuilder, shape: tuple[int, ...]) -> None:
        raise LookupError("no layer\nraised here")

    monkeypatch.setattr(LinearBuilder, "build", raising)
    spec = parse(ModelSpec, {"name": "m", "task": "regression", "inputs": {"shape": [4]}, "network": {"preset": "mlp"}})
    with pytest.raises(InvalidInput, match=r"network.1 \(linear1\): it cannot take rows of shape \[4\]: no layer"):
        build(spec, [], seed=0)
