"""On a Redis Cluster everything works as on one server."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from driftline.client.clients import Client
from tests.services import spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow


def test_it_serves_takes_labels_and_learns_on_a_cluster(redis_cluster: str, prefix: str, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    with up(tmp_path, DRIFTLINE_REDIS_URL=redis_cluster, DRIFTLINE_PREFIX=prefix) as instance:
        client = instance.client
        for name in ("weather", "traffic", "power"):
            client.create_model(spec(name))
        for name in ("weather", "traffic", "power"):
            inputs = random.normal(size=(64, 8))
            answers = client.predict(name, inputs.tolist())["predictions"]
            items = [
                {"prediction_id": answer["id"], "label": int(row[0] > 0), "id": str(index)}
                for index, (answer, row) in enumerate(zip(answers, inputs, strict=True))
            ]
            assert client.feedback(name, items)["accepted"] == 64
            assert client.wait_served(name, "63", SECONDS)["state"] == "served"
            until(partial(has_learned, client, name))
        assert [model["learned"] for model in client.models()] == [64, 64, 64]
        client.delete_model("traffic")
        assert [model["name"] for model in client.models()] == ["power", "weather"]


def has_learned(client: Client, name: str) -> bool:
    return client.predict(name, [[0.5] * 8])["version"] > 1
