"""Each task beside classification, the whole way: served, labelled, learned, its worker killed, recovered, measured."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from driftline.api.models import ModelState
from driftline.client.clients import Client
from driftline.files.answers import CsvAnswers, QuestionFile, answer_file
from driftline.files.refusals import Refusals
from tests.services import up
from tests.waiting import until

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(5)
INPUTS = {"fields": {"size": "number", "rooms": "number"}}


def rows(count: int) -> list[dict[str, Any]]:
    drawn = RANDOM.normal(size=(count, 2))
    return [{"size": float(size), "rooms": float(rooms)} for size, rooms in drawn]


def all_learned(client: Client, model: str) -> ModelState:
    def look() -> ModelState | None:
        found = client.model(model)
        return found if not found["waiting"] else None

    return until(look)


def answered_csv(client: Client, model: str, folder: Path) -> list[dict[str, str]]:
    """Two rows of a file, answered and written as CSV."""
    given, written = folder / "new.csv", folder / "answers.csv"
    given.write_text("size,rooms\n1.5,2.5\n-0.5,0.25\n")
    with written.open("w") as file:
        answer_file(client, model, QuestionFile(str(given)), Refusals(folder / "refused.ndjson"), CsvAnswers(file))
    with written.open() as file:
        return list(csv.DictReader(file))


def infer(client: Client, model: str) -> dict[str, Any]:
    """The answer of the Open Inference Protocol to two rows, its outputs by name."""
    tensors = [
        {"name": name, "shape": [2], "datatype": "FP64", "data": data}
        for name, data in (("size", [1.5, -0.5]), ("rooms", [2.5, 0.25]))
    ]
    found = httpx.post(f"{client.url}/v2/models/{model}/infer", json={"inputs": tensors})
    assert found.status_code == 200, found.text
    return {output["name"]: output for output in found.json()["outputs"]}


def test_a_regression_with_intervals(tmp_path: Path) -> None:
    spec = {"name": "price", "task": "regression", "inputs": INPUTS, "intervals": [0.1, 0.9]}

    def teach(client: Client, count: int) -> None:
        for _ in range(count // 40):
            given = rows(40)
            answers = client.predict("price", given)["predictions"]
            labels = [100 + 20 * row["size"] - 5 * row["rooms"] + float(RANDOM.normal()) for row in given]
            items = [{"prediction_id": a["id"], "label": label} for a, label in zip(answers, labels, strict=True)]
            assert client.feedback("price", items)["accepted"] == 40
            all_learned(client, "price")

    with up(tmp_path) as instance:
        client = instance.client
        client.create_model(spec)
        first = client.predict("price", rows(1))["predictions"][0]
        assert first["interval"] is None, "nothing is known of errors yet"
        assert infer(client, "price")["interval"]["data"] == [None] * 4
        teach(client, 400)
        instance.kill("worker")
        teach(client, 200)
        assert all_learned(client, "price")["learned"] == 600, "no label is lost, none is learned twice"

        def answer() -> dict[str, Any] | None:
            found = dict(client.predict("price", [{"size": 1.5, "rooms": 2.5}])["predictions"][0])
            return found if found["interval"] else None

        found = until(answer)
        low, high = found["interval"]
        assert low < found["value"] < high and high - low < 40
        scores = client.metrics("price")["prequential"]
        assert 0.6 < scores["coverage"] < 0.95 and scores["width"] > 0 and scores["pinball_loss"] > 0
        entry = list(client.log("price"))[-1]
        assert entry["answer"] is not None and len(entry["answer"]["interval"] or []) == 2
        outputs = infer(client, "price")
        assert outputs["interval"]["shape"] == [2, 2]
        assert all(math.isfinite(end) for end in outputs["interval"]["data"])
        told = answered_csv(client, "price", tmp_path)
        assert float(told[0]["interval_0.1"]) <= float(told[0]["interval_0.9"])
        version = client.model("price")["version"]

    with up(tmp_path) as instance:
        client = instance.client
        assert client.model("price")["version"] >= version
        assert client.predict("price", rows(1))["predictions"][0]["interval"], "it is part of the version"
