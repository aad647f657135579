"""The main job as a user sees it: real processes, from the first prediction to the restart."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.api.models import ModelState
from driftline.api.predictions import Predictions
from driftline.client.clients import Client
from driftline.errors import Conflict, InvalidInput, NotFound
from tests.services import Instance, answered_by, spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(7)
WEIGHTS = RANDOM.normal(size=8)


def world(rows: int, turn: int = 1) -> tuple[list[list[float]], list[int]]:
    """Rows, and their classes: which side of a plane they are on. ``turn=-1`` gives each row the other class."""
    inputs = RANDOM.normal(size=(rows, 8))
    return inputs.tolist(), (turn * (inputs @ WEIGHTS) > 0).astype(int).tolist()


def teach(client: Client, model: str, rows: int, turn: int = 1) -> tuple[int, str]:
    """Predicts, then labels; gives how many answers were right, and the id of the last label."""
    right, last = 0, ""
    for _ in range(rows // 32):
        inputs, labels = world(32, turn)
        answers = client.predict(model, inputs)["predictions"]
        right += sum(answer["label"] == label for answer, label in zip(answers, labels, strict=True))
        items = [{"prediction_id": a["id"], "label": label} for a, label in zip(answers, labels, strict=True)]
        assert client.feedback(model, items)["accepted"] == 32
        last = f"p:{answers[-1]['id']}"
    return right, last


def all_learned(client: Client, model: str) -> ModelState:
    def look() -> ModelState | None:
        found = client.model(model)
        return found if not found["waiting"] else None

    return until(look)


def probabilities(answer: Predictions) -> list[float]:
    return [number for row in answer["predictions"] for number in row["probabilities"]]


def test_the_whole_path(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        client = instance.client
        created = client.create_model(spec())
        assert (created["version"], created["learned"], created["waiting"]) == (1, 0, 0)
        with pytest.raises(Conflict):
            client.create_model(spec())

        first, last = teach(client, "weather", 640)
        learned = client.wait_served("weather", last, SECONDS)
        answered_by(client, "weather", learned["version"], world(1)[0])
        second, last = teach(client, "weather", 1280)
        assert second > 0.75 * 1280, "it learns from the labels that come back"
        client.wait_served("weather", last, SECONDS)
        shown = all_learned(client, "weather")
        assert shown["learned"] == 1920
        assert shown["version"] > 1

        metrics = client.metrics("weather")
        assert metrics["prequential"]["count"] == 1920
        assert metrics["prequential"]["accuracy"] == pytest.approx((first + second) / 1920, abs=1e-3)

        versions_seen = [client.predict("weather", world(1)[0])["version"] for _ in range(20)]
        assert all(a <= b for a, b in itertools.pairwise(versions_seen))

        race = [{"optimizer": {"learning_rate": rate}} for rate in (0.05, 1e-6)]
        again: dict[str, Any] = {"recipe": {"optimizer": {"name": "sgd"}}, "race": race, "epochs": 2}
        alone = client.retrain_dry_run("weather", epochs=2)["training"]
        assert client.retrain_dry_run("weather", **again)["training"]["updates"] == 1.5 * alone["updates"]
        done = client.wait_for_job(client.retrain("weather", **again), SECONDS)
        assert done["state"] == "succeeded" and done["report"] is not None, done
        rows = done["report"]["race"]
        # Which of them wins depends on how much the busy machine had trained before.
        assert [row["recipe"] for row in rows] == race and sorted(row["outcome"] for row in rows) == ["lost", "won"]
        if done["promoted"]:
            assert client.model("weather")["spec"]["recipe"]["optimizer"]["name"] == "sgd"

        inputs = world(4)[0]
        # What is learned is live, so that no version but that of the rollback follows.
        *_, older, live = [version["version"] for version in client.versions("weather")]
        wanted = client.predict("weather", inputs, version=older)
        assert wanted["version"] == older
        client.rollback("weather", older)
        until(lambda: client.predict("weather", inputs)["version"] == live + 1)
        assert probabilities(client.predict("weather", inputs)) == pytest.approx(probabilities(wanted), rel=1e-5)
        with pytest.raises(NotFound):
            client.rollback("weather", 10_000)

        compared = client.wait_for_job(client.compare("weather", older, live), SECONDS)
        assert compared["state"] == "succeeded" and compared["report"] is not None, compared
        assert [found["version"] for found in compared["report"]["versions"]] == [older, live]
        assert client.model("weather")["learned"] == 1920

        client.pause("weather")
        until(lambda: client.model("weather")["state"] == "paused")
        teach(client, "weather", 64)
        assert client.model("weather")["waiting"] == 64
        client.resume("weather")
        assert all_learned(client, "weather")["learned"] == 1984
        before, weights = client.model("weather"), client.predict("weather", inputs)

    with up(tmp_path) as instance:
        client = instance.client
        after = client.model("weather")
        assert {key: after[key] for key in ("learned", "waiting", "spec")} == {
            key: before[key] for key in ("learned", "waiting", "spec")
        }
        assert after["version"] >= before["version"]
        if after["version"] == weights["version"]:
            repeated = client.predict("weather", inputs)
            assert probabilities(repeated) == pytest.approx(probabilities(weights), rel=1e-5)
        teach(client, "weather", 64)
        assert all_learned(client, "weather")["learned"] == 2048
        client.delete_model("weather")
        with pytest.raises(NotFound):
            client.predict("weather", inputs)
        client.create_model(spec())
        assert client.model("weather")["learned"] == 0, "a model made again shares nothing with the old one"


def test_bad_input_names_the_field_and_changes_nothing(empty_instance: Instance) -> None:
    client = empty_instance.client
    client.create_model(spec())
    row = [0.0] * 8
    wrong: list[tuple[Any, str]] = [
        ([row[:7]], "inputs[0]"),
        ([row, [*row[:7], "x"]], "inputs[1][7]"),
        ([row, [*row[:7], 1e39]], "inputs[1][7]"),
        ([], "inputs"),
        ("rain", "inputs"),
    ]
    for inputs, field in wrong:
        with pytest.raises(InvalidInput) as refused:
            client.predict("weather", inputs)
        assert refused.value.details["field"] == field, refused.value
    items: list[tuple[dict[str, Any], str, str]] = [
        ({"inputs": row, "label": 7}, "unknown_class", "label"),
        ({"inputs": row, "label": True}, "invalid_input", "label"),
        ({"inputs": row, "label": 1.0}, "invalid_input", "label"),
        ({"inputs": row[:3], "label": 1}, "wrong_shape", "inputs[0]"),
        ({"prediction_id": "nonsense", "label": 1}, "prediction_unknown", "prediction_id"),
        ({"label": 1}, "invalid_input", "prediction_id"),
        ({"inputs": row, "label": 1, "wieght": 2}, "invalid_input", "item"),
        ({"inputs": row, "label": 1, "weight": -1}, "invalid_input", "weight"),
    ]
    for item, code, field in items:
        with pytest.raises(InvalidInput) as refused:
            client.feedback("weather", [item])
        assert (refused.value.code, refused.value.details["field"]) == (code, field), refused.value
    both = [{"inputs": row, "label": 7}, {"inputs": row, "label": 1}]
    mixed = client.feedback("weather", both, raise_errors=False)
    assert [answer["status"] for answer in mixed["items"]] == ["error", "queued"]
    for bad_spec, field in (
        (spec("x", network={"preset": "mpl"}), "network"),
        (spec("x", recipe={"strategy": "replya"}), "recipe.strategy"),
        (spec("x", inputs={"shape": [0]}), "inputs"),
        (spec("X"), "name"),
        (spec("x", colour="red"), "colour"),
        (spec("x", classes=[1, 1]), ""),
    ):
        with pytest.raises(InvalidInput) as refused:
            client.create_model(bad_spec)
        assert refused.value.details["field"].startswith(field), refused.value
    with pytest.raises(InvalidInput):
        client.retrain("weather", recipe={"optimizer": {"name": "adamw", "learning_rate": -1}})
    with pytest.raises(NotFound):
        client.predict("wether", [row])
    assert [model["name"] for model in client.models()] == ["weather"]
    assert all_learned(client, "weather")["learned"] == 1


def test_feedback_as_a_stream_answers_line_by_line(empty_instance: Instance) -> None:
    client = empty_instance.client
    client.create_model(spec())
    inputs, labels = world(300)
    items = [
        {"inputs": row, "label": label, "id": str(n)} for n, (row, label) in enumerate(zip(inputs, labels, strict=True))
    ]
    both = [*items, {"inputs": [1], "label": 1}, items[0]]
    answers = list(client.feedback_stream("weather", both, raise_errors=False))
    assert [answer["status"] for answer in answers] == ["queued"] * 300 + ["error", "duplicate"]
    assert all_learned(client, "weather")["learned"] == 300
    assert client.wait_served("weather", "7", SECONDS)["state"] == "served"
