"""Each task beside classification, the whole way: served, labelled, learned, its processes killed, recovered, measured."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from driftline.api.models import ModelState
from driftline.client.clients import Client
from driftline.errors import InvalidInput
from driftline.files.answers import CsvAnswers, QuestionFile, answer_file
from driftline.files.refusals import Refusals
from tests import forked
from tests.services import Instance, answered_by, emptied
from tests.waiting import SECONDS, until

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
    found = httpx.post(f"{client.url}/v2/models/{model}/infer", json={"inputs": tensors}, timeout=SECONDS)
    assert found.status_code == 200, found.text
    return {output["name"]: output for output in found.json()["outputs"]}


def test_a_regression_with_intervals(shared_instance: Instance, tmp_path: Path) -> None:
    spec = {"name": "price", "task": "regression", "inputs": INPUTS, "intervals": [0.1, 0.9]}
    served: list[tuple[float, float, float]] = []

    def teach(client: Client, count: int) -> None:
        for _ in range(count // 40):
            given = rows(40)
            answers = client.predict("price", given)["predictions"]
            labels = [100 + 20 * row["size"] - 5 * row["rooms"] + float(RANDOM.normal()) for row in given]
            items = [{"prediction_id": a["id"], "label": label} for a, label in zip(answers, labels, strict=True)]
            assert client.feedback("price", items)["accepted"] == 40
            known = [(*a["interval"], label) for a, label in zip(answers, labels, strict=True) if a["interval"]]
            served.extend((low, label, high) for low, high, label in known)
            all_learned(client, "price")

    with emptied(shared_instance) as instance:
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
            found: dict[str, Any] = dict(client.predict("price", [{"size": 1.5, "rooms": 2.5}])["predictions"][0])
            ends = found["interval"] or [-math.inf, math.inf]
            # What has been learned is served a moment later: a former version knows less of its errors.
            return found if ends[1] - ends[0] < 40 else None

        # An end is a quantile of errors: where all of them are to one side, the value itself lies beyond an end.
        low, high = until(answer)["interval"]
        assert low <= high
        before = len(served)
        teach(client, 200)
        assert len(served) == before + 200, "it knew enough"
        scores = client.metrics("price")["prequential"]
        assert scores["coverage"] == pytest.approx(np.mean([low <= label <= high for low, label, high in served]))
        assert scores["width"] == pytest.approx(np.mean([high - low for low, _, high in served]))
        assert scores["pinball_loss"] > 0
        entry = list(client.log("price"))[-1]
        assert entry["answer"] is not None and len(entry["answer"]["interval"] or []) == 2
        outputs = infer(client, "price")
        assert outputs["interval"]["shape"] == [2, 2]
        assert all(math.isfinite(end) for end in outputs["interval"]["data"])
        told = answered_csv(client, "price", tmp_path)
        assert float(told[0]["interval_0.1"]) <= float(told[0]["interval_0.9"])
        version = client.model("price")["version"]
        instance.kill("app")
        until(lambda: instance.is_ready)
        assert client.model("price")["version"] >= version
        assert client.predict("price", rows(1))["predictions"][0]["interval"], "it is part of the version"


def test_a_regression_with_several_outputs(shared_instance: Instance, tmp_path: Path) -> None:
    spec = {
        "name": "flat",
        "task": "regression",
        "inputs": INPUTS,
        "outputs": ["price", "area"],
        "intervals": [0.1, 0.9],
    }

    def teach(client: Client, count: int) -> None:
        for _ in range(count // 40):
            given = rows(40)
            answers = client.predict("flat", given)["predictions"]
            labels = [{"area": 50 + 5 * row["rooms"], "price": 1e5 * (3 + row["size"])} for row in given]
            items = [{"prediction_id": a["id"], "label": label} for a, label in zip(answers, labels, strict=True)]
            assert client.feedback("flat", items)["accepted"] == 40
            all_learned(client, "flat")

    def answer(client: Client) -> dict[str, Any] | None:
        found: dict[str, Any] = dict(client.predict("flat", [{"size": 0.5, "rooms": 1.0}])["predictions"][0])
        is_near = abs(found["values"]["price"] - 3.5e5) < 1e5 and abs(found["values"]["area"] - 55) < 5
        # What has been learned is served a moment later.
        return found if is_near and found["interval"]["price"] else None

    with emptied(shared_instance) as instance:
        client = instance.client
        client.create_model(spec)
        first: Any = client.predict("flat", rows(1))["predictions"][0]
        assert first["values"].keys() == {"price", "area"} and first["interval"] == {"price": None, "area": None}
        teach(client, 200)
        instance.kill("worker")
        teach(client, 80)
        assert all_learned(client, "flat")["learned"] == 280, "no label is lost, none is learned twice"
        item = {"prediction_id": first["id"], "label": {"price": 1.0}}
        with pytest.raises(InvalidInput, match=r"label\.area is missing"):
            client.feedback("flat", [item])
        ends = until(lambda: answer(client))["interval"]
        assert ends["area"][0] <= ends["area"][1] and ends["price"][0] <= ends["price"][1]
        assert np.ptp(ends["price"]) >= 100 * np.ptp(ends["area"]), "each in its own unit"
        scores = client.metrics("flat")["prequential"]
        assert scores["outputs"]["price"]["mae"] > 100 * scores["outputs"]["area"]["mae"]
        assert scores["window"]["normalized_mae"] < 100, "neither has a unit there"
        entry: Any = list(client.log("flat"))[-1]
        assert entry["label"].keys() == {"price", "area"} == entry["answer"]["values"].keys()
        outputs = infer(client, "flat")
        assert outputs["values"]["shape"] == [2, 2] and outputs["interval"]["shape"] == [2, 2, 2]
        told = answered_csv(client, "flat", tmp_path)
        assert float(told[0]["interval_area_0.1"]) <= float(told[0]["interval_area_0.9"])
        assert math.isfinite(float(told[0]["value_area"]))
        report = json.loads(run(client, "backtest", "--model", "flat", "--json"))
        assert report["mae"]["as_served"].keys() == {"price", "area"}


def test_several_labels(shared_instance: Instance, tmp_path: Path) -> None:
    spec = {"name": "mail", "task": "multilabel", "classes": ["big", "roomy", 3], "inputs": INPUTS}

    def label_of(row: dict[str, Any]) -> list[Any]:
        found = {"big": row["size"] > 0, "roomy": row["rooms"] > 0, 3: row["size"] + row["rooms"] > 1}
        return [name for name, is_so in found.items() if is_so]

    wrong_labels: list[int] = []

    def teach(client: Client, count: int) -> None:
        for _ in range(count // 40):
            given = rows(40)
            answers = client.predict("mail", given)["predictions"]
            wrong_labels.extend(len({*a["labels"]} ^ {*label_of(row)}) for a, row in zip(answers, given, strict=True))
            items = [{"prediction_id": a["id"], "label": label_of(row)} for a, row in zip(answers, given, strict=True)]
            assert client.feedback("mail", items)["accepted"] == 40
            all_learned(client, "mail")

    def labels(client: Client, row: dict[str, Any]) -> list[Any]:
        answer = client.predict("mail", [row])["predictions"][0]
        assert "label" not in answer and len(answer["probabilities"]) == 3
        return list(answer["labels"])

    with emptied(shared_instance) as instance:
        client = instance.client
        client.create_model(spec)
        first = client.predict("mail", rows(1))["predictions"][0]
        teach(client, 200)
        instance.kill("worker")
        teach(client, 200)
        assert all_learned(client, "mail")["learned"] == 400, "no label is lost, none is learned twice"
        for wrong, reason in (
            (["small"], "'small' is none of the model's classes"),
            ("big", "a list of classes, not 'big'"),
        ):
            with pytest.raises(InvalidInput, match=reason):
                client.feedback("mail", [{"prediction_id": first["id"], "label": wrong}])
        entry: Any = list(client.log("mail"))[-1]
        assert isinstance(entry["label"], list) and isinstance(entry["answer"]["labels"], list)
        version = client.wait_served("mail", entry["id"], SECONDS)["version"]
        answered_by(client, "mail", version, rows(1))
        assert labels(client, {"size": 1.5, "rooms": 2.5}) == ["big", "roomy", 3]
        assert labels(client, {"size": -1.5, "rooms": -1.5}) == []
        scores = client.metrics("mail")["prequential"]
        assert scores["window"]["hamming_loss"] == pytest.approx(sum(wrong_labels) / 3 / 400)
        assert 0 < scores["macro_f1"] <= 1
        assert {each["class"] for each in scores["window"]["classes"]} == {"big", "roomy", 3}
        outputs = infer(client, "mail")
        assert outputs["labels"]["datatype"] == "BOOL" and outputs["labels"]["shape"] == [2, 3]
        assert outputs["labels"]["data"][:3] == [True, True, True]
        told = answered_csv(client, "mail", tmp_path)
        assert json.loads(told[0]["labels"]) == ["big", "roomy", 3] and float(told[0]["probability_big"]) > 0.5
        history = tmp_path / "history.csv"
        history.write_text('size,rooms,is\n1.0,1.0,big|roomy|3\n-1.0,-1.0,[]\n1.0,-1.0,"[""big""]"\n1.0,1.0,tiny\n')
        run(client, "import", "mail", str(history), "--target", "is")
        assert "tiny" in Path(f"{history}.refused.csv").read_text()
        learned = all_learned(client, "mail")["learned"]
        assert learned == 403
        report = json.loads(run(client, "backtest", "--model", "mail", "--json"))
        assert report["hamming_loss"].keys() == {"current", "no_change", "majority", "as_served"}
        version = client.model("mail")["version"]
        instance.kill("app")
        until(lambda: instance.is_ready)
        assert client.model("mail")["version"] >= version
        assert labels(client, {"size": 1.5, "rooms": 1.5}) == ["big", "roomy", 3]


def test_several_outputs_of_a_file(shared_instance: Instance, tmp_path: Path) -> None:
    history, labels = tmp_path / "history.csv", tmp_path / "labels.csv"

    def written(path: Path, count: int) -> None:
        lines = [f"{row['size']},{row['rooms']},{100 + row['size']},{row['rooms'] * 1e4}" for row in rows(count)]
        path.write_text("\n".join(["size,rooms,price,area", *lines]) + "\n")

    written(history, 200)
    written(labels, 20)
    targets = ("--target", "price", "--target", "area")
    with emptied(shared_instance) as instance:
        client = instance.client
        chosen = ("--intervals", "0.1,0.9", "--name", "flat", "--yes", "--json")
        made = json.loads(run(client, "models", "create", "--from", str(history), *targets, *chosen))
        assert made["name"] == "flat" and '"label":{"price"' in made["curl"]["feedback"].replace(" ", "")
        spec = client.model("flat")["spec"]
        assert spec["outputs"] == ["price", "area"] and spec["intervals"] == [0.1, 0.9]
        assert client.model("flat")["learned"] == 200
        run(client, "feedback", "flat", str(labels))
        assert all_learned(client, "flat")["learned"] == 220, "columns that are called as the outputs are"
        run(client, "import", "flat", str(history), *targets)
        assert all_learned(client, "flat")["learned"] == 220, "they are known"
        scores = client.metrics("flat")["prequential"]
        assert scores["outputs"].keys() == {"price", "area"} and scores["window"]["normalized_mae"] < 100


def run(client: Client, *arguments: str) -> str:
    """What a command prints."""
    found = forked.run(["-P", "-m", "driftline.cli", *arguments], os.environ | {"DRIFTLINE_URL": client.url}, Path("/"))
    assert found.returncode == 0, found.stderr
    return found.stdout
