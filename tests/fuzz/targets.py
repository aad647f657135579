"""All that is fuzzed, by name."""

from __future__ import annotations

from tests.fuzz import connection, files, models, rows
from tests.fuzz.target import FuzzTarget

TARGETS = {
    target.name: target
    for target in (
        FuzzTarget("connection", connection.read_connection, connection.SEEDS),
        FuzzTarget("labels", rows.read_labels, rows.LABEL_SEEDS),
        FuzzTarget("rows", rows.read_rows, rows.ROW_SEEDS),
        FuzzTarget("tensors", rows.read_tensors, rows.TENSOR_SEEDS),
        FuzzTarget("spec", models.read_spec, models.SPEC_SEEDS),
        FuzzTarget("retrain", models.read_retrain, models.RETRAIN_SEEDS),
        FuzzTarget("weights", files.read_weights, files.weights_seeds()),
        FuzzTarget("artifact", files.artifact, files.artifact_seeds()),
        FuzzTarget("backup", files.backup, files.backup_seeds()),
        FuzzTarget("encrypted", files.read_encrypted, [files.SECRET, files.ENCRYPTED]),
    )
}
