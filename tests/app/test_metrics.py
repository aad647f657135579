"""What serving processes count: together with others, and without models that are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPLICA = """
import json, sys
from app.metrics import Metrics

metrics = Metrics()
gone, kept = metrics.of("gone", 7), metrics.of("kept", 3)
for model in (gone, kept):
    model.computed(5, 0.1)

def shown(models):
    found = [sample for metric in metrics.collect(models) for sample in metric.samples]
    return [[sample.name, sample.labels["model"], sample.value] for sample in found if "model" in sample.labels]

pages = [shown(None)]
metrics.forget("gone")
pages.append(shown({"kept"}))
metrics.of("gone", 1).computed(2, 0.1)
pages.append(shown({"kept", "gone"}))
print(json.dumps(pages))
"""


def pages(folder: Path) -> list[dict[tuple[str, str], float]]:
    """What a replica shows, before a model is forgotten, after that, and when it is there again."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", REPLICA], cwd=ROOT, env=environment, capture_output=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return [{(name, model): value for name, model, value in page} for page in found]


def test_a_model_that_is_gone_leaves_no_series_beside_other_replicas(tmp_path: Path) -> None:
    before, without, again = pages(tmp_path)
    assert before["driftline_predictions_total", "gone"] == 5 and before["driftline_served_version", "gone"] == 7
    assert {model for _, model in without} == {"kept"}
    assert without["driftline_predictions_total", "kept"] == 5 and without["driftline_served_version", "kept"] == 3
    assert again["driftline_predictions_total", "gone"] == 2, "this replica counts from 0 again"
    assert again["driftline_served_version", "gone"] == 1


def test_what_a_replica_that_has_ended_counted_stays(tmp_path: Path) -> None:
    pages(tmp_path)
    before, without, again = pages(tmp_path)
    assert before["driftline_predictions_total", "kept"] == 10
    assert before["driftline_served_version", "kept"] == 3
    assert {model for _, model in without} == {"kept"}
    assert again["driftline_predictions_total", "gone"] == 4, "the library keeps what ended replicas have counted"
