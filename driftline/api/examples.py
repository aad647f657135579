"""What the OpenAPI page shows as examples."""

from __future__ import annotations

from typing import Any

ID = "4be0c1d2a3f4-9a8b7c6d-19f2c0de000-0-0"
SPEC = {"name": "weather", "task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]}
MODEL = {"name": "weather", "version": 1, "learned": 0, "waiting": 0, "state": "idle", "created": 1.8e9, "spec": SPEC}
FIRST: dict[str, Any] = {
    "version": 1,
    "parent": None,
    "step": 0,
    "offset": 0,
    "created": 1.8e9,
    "reason": "created",
    "scores": {},
}
SECOND: dict[str, Any] = FIRST | {"version": 2, "parent": 1, "step": 3, "offset": 32, "reason": "promoted: …"}
ROW = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
ITEM = {"prediction_id": ID, "label": 1}
SIZE = {"layers": [], "parameters": 9610, "trained": 9610, "bytes": 38440, "flops": 18944}
PREDICTIONS = {
    **{"model": "weather", "version": 1, "classes": [0, 1]},
    "predictions": [{"id": ID, "label": 1, "probabilities": [0.4, 0.6]}],
}
LOG_ITEM = {
    **{"n": 481, "id": f"p:{ID}", "inputs": ROW, "label": 1, "weight": 1.0, "route": "live", "time": 1.8e9},
    "answer": {"version": 1, "label": 1, "probabilities": [0.4, 0.6]},
}
RETRAIN = {"recipe": {"optimizer": {"name": "sgd", "learning_rate": 0.05}}, "epochs": 3}
RACE = {"race": [{}, {"loss": "focal"}, {"optimizer": {"name": "sgd", "learning_rate": 0.05}}]}
PREVIEW = {
    "before": SIZE,
    "after": SIZE | {"parameters": 18954},
    "keeps_function": True,
    "training": {"examples": 480, "updates": 24, "flops": 87293952},
}
JOB = {
    **{"id": "4be0c1-1f", "state": "succeeded", "progress": 1.0, "promoted": True, "version": 7},
    "report": {"reason": "promoted: …", "scores": {}},
}
DESCRIBED = {
    "name": "weather",
    "versions": ["1", "2"],
    "platform": "pytorch",
    "inputs": [{"name": "inputs", "datatype": "FP32", "shape": [-1, 8]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ],
}
METRICS = {
    "model": "weather",
    "version": 2,
    "learned": 480,
    "watched": 960,
    "prequential": {
        **{"accuracy": 0.93, "balanced_accuracy": 0.92, "macro_f1": 0.92, "kappa": 0.86, "log_loss": 0.21},
        **{"brier": 0.11, "calibration_error": 0.03, "auc": 0.98, "average_precision": 0.97},
        "count": 480,
        "window": {
            **{"accuracy": 0.95, "count": 480, "size": 1000},
            "classes": [{"class": "rain", "support": 200, "recall": 0.94, "precision": 0.9}],
            "confusion": {"classes": ["dry", "rain"], "counts": [[268, 12], [12, 188]]},
            "calibration": [{"confidence": 0.93, "accuracy": 0.95, "count": 480}],
        },
        "fading": {"accuracy": 0.95, "count": 380.7, "factor": 0.999},
    },
    "forgetting": 0.01,
    "backward_transfer": 0.12,
    "lag": {"labels": 0, "seconds": 0.0, "bytes": 0, "fullness": 0.0},
    "alarms": [
        {
            "kind": "drift",
            "state": "standing",
            "time": 1.8e9,
            "at": 455,
            "message": "the error of what is served has risen (adwin), since record 401; most in 'rain'",
            "since": 401,
            "features": [],
            "classes": [{"class": "rain", "labels": 30, "before": 0.05, "now": 0.6}],
        }
    ],
}
EVENT = {
    **{"id": "1800000000000-00000007-4be0c1d2a3f4", "n": 7, "model": "weather", "time": 1.8e9, "kind": "version"},
    **{"actor": "worker", "reason": "promoted: 0.071 where the live version has 0.082", "version": 2, "parent": 1},
    **{"message": "version 2 is live: promoted: 0.071 where the live version has 0.082", "records": [1, 32]},
}
BUCKET = {
    **{"time": 1.8e9, "count": 64, "accuracy": 0.93, "log_loss": 0.21, "auc": 0.97},
    "classes": {"0": {"support": 30, "recall": 0.9}, "1": {"support": 34, "recall": 0.95}},
    "sources": {"station-7": {"count": 64, "accuracy": 0.93}},
}
TENSOR = {"name": "inputs", "shape": [1, 8], "datatype": "FP32", "data": ROW}
INFERRED = {
    **{"model_name": "weather", "model_version": "1", "id": "7", "parameters": {"prediction_id": ID}},
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.4, 0.6]},
    ],
}
WORKER = {
    **{"id": "9f3c1a7e55d0", "state": "working", "host": "learn-1", "pid": 4711, "version": "0.2.0", "started": 1.8e9},
    **{"silent_seconds": 0.8, "load": 0.31, "restarts": 0, "models": ["weather"]},
    "computing": {"model": "weather", "seconds": 0.02},
}
