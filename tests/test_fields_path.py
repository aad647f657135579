"""Rows of fields as an application has them: real processes, killed in between, and fields that change on a live model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.api.models import ModelState
from driftline.api.predictions import Predictions
from driftline.client.clients import Client
from driftline.errors import InvalidInput
from tests.services import Instance, answered_by, emptied, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(11)
SPEC: dict[str, Any] = {
    "name": "churn",
    "task": "classification",
    "classes": ["no", "yes"],
    "inputs": {"fields": {"tenure": "number", "plan": "category", "note": "text", "since": "time", "row": "ignore"}},
}
UNJUDGED = {**SPEC, "recipe": {"gate": {"mode": "off"}}}
"""What chance may refuse, as a retrain on few labels, goes live."""
NOTES = ("all is fine", "wants to leave soon")


def customers(count: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows, some with missing fields, whose class hangs on the number, the category and the text."""
    rows, labels = [], []
    for n in range(count):
        tenure, plan, note = RANDOM.normal(20, 5), int(RANDOM.integers(30)), int(RANDOM.integers(2))
        row = {"tenure": tenure, "plan": f"plan {plan}", "note": NOTES[note], "since": "2024-05-01T08:00:00Z", "row": n}
        rows.append({name: value for name, value in row.items() if name == "note" or RANDOM.random() > 0.05})
        labels.append("yes" if (20 - tenure) / 5 + (plan % 3 - 1) + 2 * note > 1 else "no")
    return rows, labels


def teach(client: Client, count: int) -> tuple[float, str]:
    """Predicts, then labels; the share of right answers, and the id of the last label."""
    right, last = 0, ""
    for _ in range(count // 40):
        rows, labels = customers(40)
        answers = client.predict("churn", rows)["predictions"]
        right += sum(answer["label"] == label for answer, label in zip(answers, labels, strict=True))
        items = [{"prediction_id": a["id"], "label": label} for a, label in zip(answers, labels, strict=True)]
        assert client.feedback("churn", items)["accepted"] == 40
        last = f"p:{answers[-1]['id']}"
    return right / count, last


def all_learned(client: Client) -> ModelState:
    def look() -> ModelState | None:
        found = client.model("churn")
        return found if not found["waiting"] else None

    return until(look)


def probabilities(answer: Predictions) -> list[float]:
    return list(itertools.chain.from_iterable(row["probabilities"] for row in answer["predictions"]))


def answers(client: Client, rows: list[dict[str, Any]]) -> list[float]:
    return probabilities(client.predict("churn", rows))


def served_by(client: Client, rows: list[dict[str, Any]], version: int) -> Predictions | None:
    """The answer of a version; None while another one is served."""
    found = client.predict("churn", rows)
    return found if found["version"] == version else None


def test_fields_from_the_first_row_to_the_restart(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        client = instance.client
        client.create_model(UNJUDGED)
        _, last = teach(client, 800)
        learned = client.wait_served("churn", last, SECONDS)
        answered_by(client, "churn", learned["version"], customers(1)[0])
        assert teach(client, 400)[0] > 0.75, "all fields tell of the class"
        instance.kill("worker")
        teach(client, 200)
        assert all_learned(client)["learned"] == 1400, "no label is lost, none is learned twice"
        with pytest.raises(InvalidInput, match=r'inputs\[0\]\.tenure: "long" is not a number'):
            client.predict("churn", [{"tenure": "long"}])
        rows, _ = customers(5)
        before = until(lambda: served_by(client, rows, client.model("churn")["version"]))

    with up(tmp_path) as instance:
        client = instance.client
        assert client.model("churn")["learned"] == 1400
        after = client.predict("churn", rows)
        if after["version"] == before["version"]:
            assert probabilities(after) == pytest.approx(probabilities(before), rel=1e-5)
        edits = [{"type": "rename_field", "field": "tenure", "to": "months"}, {"type": "drop_field", "field": "since"}]
        done = client.wait_for_job(client.retrain("churn", edits=edits, epochs=1), SECONDS)
        assert done["state"] == "succeeded" and done["promoted"], done
        renamed = [{("months" if name == "tenure" else name): value for name, value in row.items()} for row in rows]
        until(lambda: "months" in client.model("churn")["spec"]["inputs"]["fields"])
        until(lambda: client.predict("churn", rows)["version"] >= (done["version"] or 0))
        assert answers(client, renamed) == pytest.approx(answers(client, rows), rel=1e-5)
        teach(client, 80)
        assert all_learned(client)["learned"] == 1480
        assert "unknown_fields" not in client.metrics("churn"), "former names are known"


def test_a_field_is_added_to_a_live_model(shared_instance: Instance) -> None:
    with emptied(shared_instance) as instance:
        client = instance.client
        client.create_model(UNJUDGED)
        teach(client, 320)
        all_learned(client)
        rows, _ = customers(5)
        with_region = [{**row, "region": "north"} for row in rows]
        before = until(lambda: served_by(client, rows, client.model("churn")["version"]))
        assert answers(client, with_region) == pytest.approx(probabilities(before), rel=1e-5)
        until(lambda: client.metrics("churn").get("unknown_fields") == {"region": 5})
        waits = client.predict("churn", rows)["predictions"]
        job = client.retrain("churn", edits=[{"type": "add_field", "name": "region", "field": "category"}], epochs=1)
        instance.kill("worker")
        done = client.wait_for_job(job, SECONDS)
        assert done["state"] == "succeeded" and done["promoted"], done
        until(lambda: "region" in client.model("churn")["spec"]["inputs"]["fields"])
        until(lambda: client.predict("churn", rows)["version"] >= (done["version"] or 0))
        assert answers(client, with_region) == pytest.approx(answers(client, rows), rel=1e-5), (
            "of a region nothing is known"
        )
        late = [{"prediction_id": each["id"], "label": "no"} for each in waits]
        assert client.feedback("churn", late)["accepted"] == 5, "labels of answers from before still join"
        for _ in range(15):
            some = [{**row, "region": ["north", "south"][n % 2]} for n, row in enumerate(customers(20)[0])]
            given = client.predict("churn", some)["predictions"]
            items = [{"prediction_id": each["id"], "label": ["no", "yes"][n % 2]} for n, each in enumerate(given)]
            assert client.feedback("churn", items)["accepted"] == 20
            all_learned(client)
        assert all_learned(client)["learned"] == 625
        until(lambda: client.metrics("churn").get("unknown_fields") == {"region": 5})
        learned = client.wait_served("churn", f"p:{given[-1]['id']}", SECONDS)
        answered_by(client, "churn", learned["version"], rows)
        north, south = (answers(client, [{**row, "region": name} for row in rows]) for name in ("north", "south"))
        assert sum(north[0::2]) > sum(south[0::2]) + 1, "the region tells of the class"
        client.rollback("churn", before["version"])
        until(lambda: "region" not in client.model("churn")["spec"]["inputs"]["fields"])
        teach(client, 40)
        assert all_learned(client)["learned"] == 665
        instance.kill("worker")
        teach(client, 40)
        assert all_learned(client)["learned"] == 705


def test_history_is_learned_as_it_was_lived(empty_instance: Instance) -> None:
    client = empty_instance.client
    client.create_model(SPEC)
    rows, labels = customers(900)
    items = [
        {"id": f"row {n}", "inputs": row, "label": label, "route": "import", "delay": 20}
        for n, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]
    for first in range(0, 900, 300):
        assert client.feedback("churn", items[first : first + 300])["accepted"] == 300
    again = client.feedback("churn", items[:10])
    assert [item["status"] for item in again["items"]] == ["duplicate"] * 10
    shown = all_learned(client)
    assert shown["learned"] == 900
    metrics = client.metrics("churn")
    assert metrics["prequential"]["count"] == 880, "the labels of the last twenty rows were not known yet"
    assert metrics["held_out"] > 0
    assert metrics["prequential"]["accuracy"] > 0.6
