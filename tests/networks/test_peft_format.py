"""Adapters go to PEFT and come from it, and answer there as here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.networks import peft_format
from driftline.networks.bases import adapted
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.spec.based import BasedSpec
from tests.networks.own_networks import FACTORIES
from tests.networks.peft_networks import every_layer
from tests.networks.test_bases import BASES
from tests.services import spec

ALL = [*FACTORIES, "tests.networks.peft_networks:every_layer"]
LAYERS = ["words", "turned", "convolution", "last"]
CASES: dict[str, tuple[dict[str, Any], list[str] | None]] = {
    "layers": (BASES["layers"], None),
    "convolutions": (BASES["convolutions"], None),
    "every layer": (
        {
            "inputs": {"shape": [6], "dtype": "int64"},
            "network": {"factory": ALL[-1]},
            "recipe": {"strategy": "replay"},
        },
        LAYERS,
    ),
}
EVERY = CASES["every layer"]
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def base_of(changes: dict[str, Any]) -> Model:
    learner = Learner.create(parse(ModelSpec, spec(**changes)), seed=3, factories=ALL)
    return Model(learner.spec, learner.classes, learner.module)


def on(base: Model, adapter: dict[str, Any], tensors: dict[str, Tensor] | None = None, **said: Any) -> Learner:
    asked = parse(BasedSpec, {"name": "tenant", "network": {"base": "bert", "adapter": adapter}, **said})
    own, begun = adapted(base, "bert@3", asked.over(base.spec), asked.network.adapter, brought=tensors)
    return Learner.create(own, seed=4, begins_with=begun, factories=ALL)


def trained(base: Model, layers: list[str] | None) -> Learner:
    """A model on a base whose adapters and output are no longer as they began."""
    learner = on(base, {"rank": 2, "layers": layers} if layers else {"rank": 2})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learner.module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return learner


def rows(spec: ModelSpec) -> dict[str, Tensor]:
    (tensor,) = spec.tensors.values()
    generator = torch.Generator().manual_seed(2)
    if tensor.dtype == "int64":
        return {"inputs": torch.randint(0, 10, (5, *tensor.shape), generator=generator)}
    return {"inputs": torch.randn((5, *tensor.shape), generator=generator)}


def answers(model: Learner | Model) -> Tensor:
    found: Tensor = model.module.eval()(rows(model.spec)).detach()
    return found


@EACH
def test_what_is_exported_is_imported_with_the_same_answers(case: tuple[dict[str, Any], list[str] | None]) -> None:
    base = base_of(case[0])
    one = trained(base, case[1])
    config, tensors = peft_format.exported(one.module)
    other = on(base, {"peft": json.loads(json.dumps(config))}, tensors)
    torch.testing.assert_close(answers(other), answers(one))
    assert not torch.allclose(answers(base), answers(one), atol=1e-2)
    trains = [{name for name, each in model.module.named_parameters() if each.requires_grad} for model in (one, other)]
    assert trains[0] == trains[1]
    without_output = {name: value for name, value in tensors.items() if not name.startswith("output.")}
    torch.testing.assert_close(
        on(base, {"peft": config}, without_output).module.output.weight, base.module.output.weight
    )


def test_the_scale_of_an_adapter_is_that_of_its_configuration() -> None:
    base = base_of(EVERY[0])
    one = trained(base, LAYERS)
    config, tensors = peft_format.exported(one.module)
    for changed, share in (({"lora_alpha": 4}, 2.0), ({"lora_alpha": 4, "use_rslora": True}, 2.0 * 2**0.5)):
        smaller = {
            name: value / share if "lora_B" in name or "lora_embedding_B" in name else value
            for name, value in tensors.items()
        }
        other = on(base, {"peft": {**config, **changed}}, smaller)
        torch.testing.assert_close(answers(other), answers(one))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "IA3"}, "peft_type is 'IA3', and LORA is what"),
    "dora": ({"use_dora": True}, "use_dora is True, and False is what"),
    "several ranks": ({"rank_pattern": {"last": 3}}, "rank_pattern is {'last': 3}"),
    "other modules": ({"modules_to_save": ["last"]}, "modules_to_save is ['last']"),
    "no rank": ({"r": "two"}, "r is 'two', not a rank"),
    "no factor": ({"lora_alpha": "much"}, "lora_alpha is 'much', not a number"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_configuration_of_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    base = base_of(EVERY[0])
    config, tensors = peft_format.exported(trained(base, LAYERS).module)
    with pytest.raises(InvalidInput) as refused:
        on(base, {"peft": {**config, **changes}}, tensors)
    assert message in refused.value.message and refused.value.message.startswith("network.adapter.peft")


def test_tensors_that_fit_nothing_are_refused() -> None:
    base = base_of(EVERY[0])
    config, tensors = peft_format.exported(trained(base, LAYERS).module)
    last = "base_model.model.last.lora_A.weight"
    for changed, message in (
        ({}, "its file has no tensor of an adapter"),
        ({**tensors, last: tensors[last][:, :-1]}, "has the shape [2, 19], which does not fit its layer"),
        ({**tensors, "base_model.model.last.lora_C.weight": tensors[last]}, "is of no layer that has an adapter"),
        ({**tensors, "base_model.model.words.wrong.lora_A.weight": tensors[last]}, "words.wrong"),
        ({**tensors, "output.weight": tensors["output.weight"][:, 1:]}, "output.weight"),
    ):
        with pytest.raises(InvalidInput) as refused:
            on(base, {"peft": config}, changed)
        assert message in refused.value.message
    with pytest.raises(InvalidInput, match="peft says rank and layers"):
        on(base, {"peft": config, "rank": 2}, tensors)
    with pytest.raises(InvalidInput, match="the model has no adapter"):
        peft_format.exported(base.module)


def test_attention_is_refused_by_its_path() -> None:
    attention = nn.MultiheadAttention(8, 2)
    with pytest.raises(InvalidInput, match=r"no form for the adapter of 'blocks\.attention', a MultiheadAttention"):
        peft_format._check_kind("blocks.attention", attention)


def test_peft_answers_with_what_is_exported_and_what_peft_saves_answers_here(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = base_of(EVERY[0])
    one = trained(base, LAYERS)
    config, tensors = peft_format.exported(one.module)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    network = every_layer()
    network.load_state_dict(base.module.network.state_dict())
    theirs = peft.PeftModel.from_pretrained(network, str(tmp_path)).eval()
    given = rows(base.spec)["inputs"]
    torch.testing.assert_close(theirs(given), one.module.eval().network(given))

    network = every_layer()
    network.load_state_dict(base.module.network.state_dict())
    options = {"r": 3, "lora_alpha": 5, "target_modules": LAYERS, "init_lora_weights": False, "use_rslora": True}
    theirs = peft.get_peft_model(network, peft.LoraConfig(**options)).eval()
    theirs.save_pretrained(str(tmp_path / "saved"))
    saved = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    other = on(base, {"peft": saved}, load_file(tmp_path / "saved" / "adapter_model.safetensors"))
    torch.testing.assert_close(theirs(given), other.module.eval().network(given))
