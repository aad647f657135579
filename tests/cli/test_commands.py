"""The commands that talk to a server: what they send, what they print, how they end."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import driftline

MODEL = {
    "name": "m",
    "version": 3,
    "learned": 64,
    "waiting": 2,
    "state": "learning",
    "spec": {"task": "classification"},
}
PREDICTIONS = {
    "model": "m",
    "version": 3,
    "classes": [0, 1],
    "predictions": [{"id": "p1", "label": 1, "probabilities": [0.25, 0.75]}],
}

# command, what the server answers, what it is sent, what --json prints
COMMANDS: list[tuple[list[str], Any, tuple[str, str, Any], Any]] = [
    (["models", "list"], {"models": [MODEL]}, ("GET", "/v1/models", None), [{**MODEL, "task": "classification"}]),
    (["models", "show", "m"], MODEL, ("GET", "/v1/models/m", None), MODEL),
    (["models", "delete", "m"], {"deleted": "m"}, ("DELETE", "/v1/models/m", None), {"deleted": "m"}),
    (["predict", "m", "[[1.5]]"], PREDICTIONS, ("POST", "/v1/models/m/predict", {"inputs": [[1.5]]}), PREDICTIONS),
    (
        ["feedback", "m", '{"prediction_id": "p1", "label": 1}'],
        {"accepted": 1, "items": [{"id": "p:p1", "status": "queued"}], "durability": "fsync_always"},
        ("POST", "/v1/models/m/feedback", {"items": [{"prediction_id": "p1", "label": 1}]}),
        {"accepted": 1, "items": [{"id": "p:p1", "status": "queued"}], "durability": "fsync_always"},
    ),
    (
        ["receipt", "m", "p:p1"],
        {"state": "learned"},
        ("GET", "/v1/models/m/feedback/p%3Ap1", None),
        {"state": "learned"},
    ),
    (
        ["retrain", "m", "--recipe", '{"batch_size": 8}', "--edits", '[{"type": "replace_head"}]', "--epochs", "2"],
        {"job_id": "u-1"},
        (
            "POST",
            "/v1/models/m/retrain",
            {"recipe": {"batch_size": 8}, "edits": [{"type": "replace_head"}], "epochs": 2},
        ),
        {"job_id": "u-1"},
    ),
    (["job", "u-1"], {"state": "running"}, ("GET", "/v1/jobs/u-1", None), {"state": "running"}),
    (["versions", "m"], {"versions": [{"version": 1}]}, ("GET", "/v1/models/m/versions", None), [{"version": 1}]),
    (["rollback", "m", "1"], {"command": 9}, ("POST", "/v1/models/m/rollback", {"version": 1}), {"command": 9}),
    (["pause", "m"], {"command": 9}, ("POST", "/v1/models/m/pause", {}), {"command": 9}),
    (["resume", "m"], {"command": 9}, ("POST", "/v1/models/m/resume", {}), {"command": 9}),
    (
        ["recipe", "m", '{"batch_size": 8}'],
        {"command": 9},
        ("PATCH", "/v1/models/m/recipe", {"batch_size": 8}),
        {"command": 9},
    ),
    (["metrics", "m"], {"version": 3}, ("GET", "/v1/models/m/metrics", None), {"version": 3}),
]


@pytest.mark.parametrize(("command", "answer", "sent", "printed"), COMMANDS, ids=lambda value: None)
def test_a_command_is_one_call_and_prints_its_answer(
    server: Any, run: Any, command: list[str], answer: Any, sent: Any, printed: Any
) -> None:
    server.answers = [(200, answer), (200, answer)]
    result = run(*command, "--json", "--url", server.url)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == printed
    result = run(*command, DRIFTLINE_URL=server.url)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip()
    assert server.sent == [sent, sent]


def test_a_spec_comes_from_a_file_or_from_standard_input(server: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"name": "m"}')
    server.answers = [(201, MODEL)] * 3
    assert run("models", "create", "spec.json", "--url", server.url).returncode == 0
    assert run("models", "create", "-", "--url", server.url, stdin='{"name": "m"}').returncode == 0
    assert server.sent == [("POST", "/v1/models", {"name": "m"})] * 2
    (tmp_path / "weights.safetensors").write_bytes(b"the weights")
    result = run("models", "create", "spec.json", "--weights", "weights.safetensors", "--url", server.url)
    assert result.returncode == 0
    assert b"the weights" in server.requests[2].body


def test_an_adapter_is_written_as_peft_does_and_sent_as_it_was_written(server: Any, run: Any, tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 8}
    answer = {"config": config, "weights": base64.b64encode(b"the tensors").decode()}
    server.answers = [(200, MODEL), (200, answer), (201, MODEL)]
    result = run("models", "export", "m", "written/here", "--json", "--url", server.url)
    assert json.loads(result.stdout) == {"model": "m", "version": 3, "folder": "written/here"}
    assert server.sent[1] == ("GET", "/v1/models/m/versions/3/adapter", None)
    folder = tmp_path / "written" / "here"
    assert json.loads((folder / "adapter_config.json").read_text()) == config
    assert (folder / "adapter_model.safetensors").read_bytes() == b"the tensors"
    assert run("models", "adapt", "bert", "other", "--peft", "written/here", "--url", server.url).returncode == 0
    body = server.requests[2].body
    spec = {"name": "other", "network": {"base": "bert", "adapter": {"peft": config}}}
    assert b"the tensors" in body and json.dumps(spec, separators=(",", ":")).encode() in body


@pytest.mark.parametrize("text", ['{"label": 1}\n{"label": 2}\n', '[{"label": 1},\n {"label": 2}]'])
def test_items_come_as_a_list_or_as_lines(server: Any, run: Any, tmp_path: Path, text: str) -> None:
    statuses = [{"id": "a", "status": "queued"}, {"id": "b", "status": "duplicate"}]
    server.answers = [(202, {"accepted": 2, "items": statuses, "durability": "fsync_always"})] * 2
    (tmp_path / "labels").write_text(text)
    assert run("feedback", "m", "@labels", "--url", server.url).returncode == 0
    assert run("feedback", "m", "-", "--url", server.url, stdin=text).returncode == 0
    assert [[item["label"] for item in body["items"]] for _, _, body in server.sent] == [[1, 2]] * 2


def test_an_item_that_is_refused_is_told_and_counts_as_failure(server: Any, run: Any) -> None:
    statuses = [
        {"id": "a", "status": "queued"},
        {"id": "b", "status": "error", "error": {"code": "conflict", "message": "b was sent with another label"}},
    ]
    server.answers = [(202, {"accepted": 1, "items": statuses, "durability": "fsync_always"})]
    result = run("feedback", "m", '[{"label": 1}, {"label": 2}]', "--url", server.url)
    assert result.returncode == 1
    assert "b was sent with another label" in result.stdout
    assert "1 accepted" in result.stdout


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_waiting_for_a_retrain_ends_as_the_job_ends(server: Any, run: Any, state: str, code: int) -> None:
    server.answers = [(202, {"job_id": "u-1"}), (200, {"state": "running"}), (200, {"state": state, "version": 4})]
    result = run("retrain", "m", "--wait", "--json", "--url", server.url)
    assert result.returncode == code
    assert json.loads(result.stdout) == {"id": "u-1", "state": state, "version": 4}


def test_a_report_stands_side_by_side(server: Any, run: Any) -> None:
    before = {"holdout": {"accuracy": 0.75, "classes": [{"class": "rain", "recall": 0.5}]}, "parameters": 10}
    after = {"holdout": {"accuracy": 0.875, "classes": []}, "parameters": 20}
    report = {"before": before, "after": after, "reason": "not worse"}
    server.answers = [(200, {"state": "succeeded", "report": report})]
    lines = [line.split() for line in run("job", "u-1", "--url", server.url).stdout.splitlines()]
    assert ["holdout", "accuracy", "0.75", "0.875"] in lines and ["parameters", "10", "20"] in lines
    assert ["holdout", "recall", "of", "'rain'", "0.5"] in lines


def test_two_versions_stand_side_by_side(server: Any, run: Any) -> None:
    classes = [{"class": "rain", "recall": 0.5}]
    measured = {"holdout": {"accuracy": 0.75, "classes": classes}, "latency_ms": {"1": 0.5}, "parameters": 10}
    better = {"difference": 0.125, "standard_error": 0.05, "beyond_chance": True}
    differences = {
        "holdout": {"accuracy": better, "classes": [{"class": "rain", "recall": {"difference": 0.0}}]},
        "latency_ms": {"1": {"difference": 0.25}},
        "parameters": {"difference": 0},
    }
    versions = [{"version": 12, **measured}, {"version": 17, **measured, "latency_ms": {"1": 0.75}}]
    job = {"state": "succeeded", "report": {"versions": versions, "differences": differences}}
    server.answers = [(202, {"job_id": "u-1"}), (200, job)] * 2
    result = run("compare", "m", "12", "17", "--url", server.url)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["holdout", "accuracy", "0.75", "0.75", "0.125", "0.05", "yes"] in lines
    assert ["holdout", "recall", "of", "'rain'", "0.5", "0.5", "0"] in lines
    assert ["latency_ms", "1", "0.5", "0.75", "0.25"] in lines and result.returncode == 0
    assert json.loads(run("compare", "m", "12", "17", "--json", "--url", server.url).stdout) == {"id": "u-1", **job}
    assert server.sent[0] == ("POST", "/v1/models/m/compare", {"versions": [12, 17]})
    server.answers = [(202, {"job_id": "u-1"}), (200, job), (202, {"job_id": "u-2"})]
    assert run("compare", "m", "12", "17", "--wait", "--url", server.url).stdout == result.stdout
    assert run("compare", "m", "12", "17", "--no-wait", "--url", server.url).stdout.split() == ["job_id", "u-2"]


def test_moments_are_iso_texts_in_a_pipe_and_in_json(server: Any, run: Any) -> None:
    made = MODEL | {"created": 1_796_000_000.25}
    server.answers = [(200, made), (200, {"versions": [{"created": 1_796_000_000.25}]}), (200, made)]
    shown = run("models", "show", "m", "--url", server.url, TZ="Europe/Berlin").stdout
    assert "2026-11-30T00:53:20Z" in shown
    assert "2026-11-30T00:53:20Z" in run("versions", "m", "--url", server.url, TZ="Europe/Berlin").stdout
    found = json.loads(run("models", "show", "m", "--json", "--url", server.url).stdout)
    assert found["created"] == "2026-11-30T00:53:20Z"


def test_the_files_of_a_race_are_its_entries_and_its_table_is_printed(server: Any, run: Any, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"batch_size": 8},
        {"recipe": {"loss": "focal"}, "edits": [{"type": "replace_head"}]},
    ]
    options = []
    for number, entry in enumerate(entries):
        (tmp_path / f"{number}.json").write_text(json.dumps(entry))
        options += ["--race", str(tmp_path / f"{number}.json")]
    won = {"recipe": {"batch_size": 8}, "updates": 20, "accuracy": 0.875, "outcome": "won"}
    failed = {**entries[1], "updates": 3, "outcome": "failed", "reason": "ValueError: no"}
    report = {"reason": "not worse", "race": [won, failed]}
    server.answers = [(202, {"job_id": "u-1"}), (200, {"state": "succeeded", "report": report})]
    shown = run("retrain", "m", *options, "--wait", "--url", server.url)
    assert server.sent[0] == ("POST", "/v1/models/m/retrain", {"race": entries})
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["recipe", "edits", "updates", "accuracy", "outcome", "reason"] in lines
    assert ['{"batch_size":', "8}", "20", "0.875", "won"] in lines
    assert any("focal" in " ".join(line) and line[-2:] == ["ValueError:", "no"] for line in lines)


def test_a_dry_run_shows_what_a_retrain_would_give(server: Any, run: Any) -> None:
    layer = {"name": "linear1", "type": "Linear", "shape": [6], "parameters": 54, "trained": 54}
    sizes = {"layers": [layer], "parameters": 54}
    training = {"examples": 10, "updates": 3, "flops": 99}
    race = [{"recipe": {"loss": "focal"}, "parameters": 99}]
    found = {"before": sizes, "after": sizes | {"parameters": 77}, "keeps_function": True, "training": training}
    found["race"] = race
    server.answers = [(200, found)] * 2
    lines = [line.split() for line in run("retrain", "m", "--dry-run", "--url", server.url).stdout.splitlines()]
    assert ["parameters", "54", "77"] in lines and ["linear1", "Linear", "[6]", "54", "54"] in lines
    assert ["updates", "3"] in lines and ['{"loss":', '"focal"}', "99"] in lines
    assert json.loads(run("retrain", "m", "--dry-run", "--json", "--url", server.url).stdout) == found
    assert [body for _, _, body in server.sent] == [{"dry_run": True}] * 2


def test_expected_trouble_is_one_sentence(server: Any, run: Any) -> None:
    server.answers = [(404, {"error": {"code": "not_found", "message": "there is no model 'm'"}})]
    result = run("models", "show", "m", "--url", server.url)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "driftline: there is no model 'm'\n")
    result = run("models", "list", "--url", "http://127.0.0.1:1")
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1 and "http://127.0.0.1:1" in result.stderr
    assert "DRIFTLINE_URL" in result.stderr and "--url" in result.stderr


@pytest.mark.parametrize(
    "command", [["predict", "m", "[1"], ["predict", "m", "@missing"], ["rollback", "m", "x"], ["x"]]
)
def test_a_wrong_use_is_told_with_exit_code_2(run: Any, command: list[str]) -> None:
    result = run(*command)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr and "Usage" in result.stderr


def test_the_version_is_printed(run: Any) -> None:
    assert run("--version").stdout == f"driftline {driftline.__version__}\n"


def test_the_command_line_imports_neither_torch_nor_the_processes(environment: dict[str, str]) -> None:
    program = "import sys, driftline.cli; print([m for m in ('torch', 'app', 'worker', 'httpx') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
