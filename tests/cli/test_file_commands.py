"""Files at the command line, against a whole Driftline: history, answers, labels."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftline.errors import NotFound
from tests.services import Instance
from tests.services import up as instance
from tests.waiting import until

pytestmark = pytest.mark.slow

LOG_CAP = 1000
"""The least that there may be: more rows than that wait for the worker, one after the other."""
ROWS = 1200
TOWNS = ("Köln", "Ulm", "Jülich")
FIELDS = {"price": "number", "town": "category"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("up"), DRIFTLINE_LOG_CAP=str(LOG_CAP)) as running:
        yield running


@pytest.fixture
def driftline(run: Any, service: Instance) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A command that asks this service; it must succeed, unless another exit code is expected."""

    def call(*arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = run(*arguments, stdin=stdin, DRIFTLINE_URL=service.url, COLUMNS="200")
        assert done.returncode == code, done.stderr + done.stdout
        return done

    return call


def sales(rows: int) -> str:
    """A table whose price tells whether something is sold."""
    lines = [f"{row % 11},{'abc'[row % 3]},{'yes' if row % 11 > 5 else 'no'}" for row in range(rows)]
    return "\n".join(["price,town,sold", *lines]) + "\n"


def make(service: Instance, name: str, **changes: Any) -> str:
    spec = {"name": name, "task": "classification", "classes": ["no", "yes"], "inputs": {"fields": FIELDS}}
    service.client.create_model(spec | changes)
    return name


def state(service: Instance, name: str) -> Any:
    return service.client.model(name)


@pytest.fixture
def started(environment: dict[str, str], service: Instance, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a command that is not waited for."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "driftline.cli", *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        variables = {**environment, "DRIFTLINE_URL": service.url}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=variables, **pipes))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def await_full_log(process: subprocess.Popen[str]) -> None:
    """Until an import says that it waits for room."""
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("it goes on as soon as it can: the log is full" in line for line in lines)


def test_an_import_that_was_killed_and_is_repeated_learns_each_row_once(
    service: Instance, driftline: Any, started: Any, tmp_path: Path
) -> None:
    (tmp_path / "history.csv").write_text(sales(ROWS))
    name = make(service, "killed")
    service.client.pause(name)
    first = started("import", name, "history.csv", "--target", "sold")
    # The log is full before the file ends, so that it is killed in its midst.
    await_full_log(first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    service.client.resume(name)
    done = json.loads(driftline("import", name, "history.csv", "--target", "sold", "--json").stdout)
    assert (done["rows"], done["sent"], done["refused"]) == (ROWS, ROWS, 0)
    assert 0 < done["sent before"] < ROWS
    assert done["prequential"]["count"] == ROWS and set(done["newest labels"]) == set(done["prequential"])
    assert (state(service, name)["learned"], state(service, name)["waiting"]) == (ROWS, 0)


def test_an_import_outlasts_a_full_log_and_a_killed_server(service: Instance, started: Any, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(sales(ROWS))
    name = make(service, "outlasting")
    service.client.pause(name)
    running = started("import", name, "history.csv", "--target", "sold", "--json")
    await_full_log(running)
    service.kill("app")
    until(lambda: service.is_ready)
    assert running.poll() is None
    service.client.resume(name)
    output, errors = running.communicate()
    assert running.returncode == 0, errors
    assert json.loads(output)["learned"] == ROWS == state(service, name)["learned"]


def test_what_cannot_be_read_or_is_refused_is_told_row_by_row(
    service: Instance, driftline: Any, tmp_path: Path
) -> None:
    text = sales(40).splitlines()
    text[3] = "cheap,a,yes"
    text[5] = "1,b,maybe"
    text[7] = "1,c,"
    text[9] = "1,c"
    (tmp_path / "history.csv").write_text("\n".join(text) + "\n")
    name = make(service, "refusing")
    done = driftline("import", name, "history.csv", "--target", "sold")
    printed = dict(line.split(None, 1) for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert (printed["rows"], printed["sent"], printed["refused"]) == ("40", "36", "3")
    assert "without a label" in done.stdout
    assert "row 3: price: `cheap` is not a number" in done.stderr
    assert "3 rows refused, with reasons in history.csv.refused.csv" in done.stderr
    with (tmp_path / "history.csv.refused.csv").open() as file:
        refused = list(csv.DictReader(file))
    assert sorted((int(row["row"]), row["field"], row["value"]) for row in refused)[:2] == [
        (3, "price", "cheap"),
        (5, "label", "maybe"),
    ]
    assert {row["row"] for row in refused} == {"3", "5", "9"} and all(row["reason"] for row in refused)
    # The same rows with another delay are other items, but for the last one, whose label is known at once all the same.
    again = driftline("import", name, "history.csv", "--target", "sold", "--delay", "3", "--refused", "r.csv", "--json")
    assert (json.loads(again.stdout)["sent"], json.loads(again.stdout)["refused"]) == (1, 38)
    refusals = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert sum("was sent before with another content" in row["reason"] for row in refusals) == 35
    assert sum("(conflict)" in row["reason"] for row in refusals) == 35


def test_a_pipe_is_imported_and_labels_may_be_late(service: Instance, driftline: Any) -> None:
    name = make(service, "piped")
    done = json.loads(
        driftline("import", name, "-", "--target", "sold", "--delay", "7", "--json", stdin=sales(60)).stdout
    )
    assert (done["sent"], done["learned"]) == (60, 60)
    assert state(service, name)["learned"] == 60
    limited = driftline("import", name, "-", "--target", "sold", "--limit", "5", "--no-wait", "--json", stdin=sales(50))
    assert json.loads(limited.stdout)["rows"] == 5


def test_labels_by_times_come_in_the_order_of_life(service: Instance, driftline: Any, tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {"at": 1_700_000_000 + 60 * row, "price": row, "known": 1_700_000_000 + 60 * row + 150, "sold": "no"}
        )
        for row in reversed(range(20))
    ]
    (tmp_path / "history.ndjson").write_text("\n".join(lines) + "\n")
    name = make(service, "timed", inputs={"fields": {"at": "time", "price": "number"}})
    arguments = ("import", name, "history.ndjson", "--target", "sold", "--label-time", "known", "--json")
    assert json.loads(driftline(*arguments).stdout)["learned"] == 20
    assert [item["inputs"]["price"] for item in service.client.log(name)] == list(range(20))
    nameless = driftline("import", name, "history.ndjson", "--target", "at", code=2)
    assert "'at' is a field of the model timed, and cannot be its label as well" in nameless.stderr
    unsure = driftline("import", "killed", "history.ndjson", "--target", "sold", "--label-time", "known", code=2)
    assert "name the column that says when a row came with --time; the model has 0 fields of a time" in unsure.stderr


def test_a_file_in_latin_1_with_decimal_commas_becomes_a_live_model(
    service: Instance, driftline: Any, tmp_path: Path
) -> None:
    lines = [f"{row % 9},{row % 10}5;{TOWNS[row % 3]};{3 * (row % 9)},{row % 7}" for row in range(300)]
    (tmp_path / "häuser.csv").write_bytes(("fläche;stadt;preis\n" + "\n".join(lines) + "\n").encode("latin-1"))
    arguments = ("models", "create", "--from", "häuser.csv", "--target", "preis", "--name", "haus")
    done = driftline(*arguments, "--task", "regression")
    assert "is read as cp1252" in done.stderr and "300 rows; regression of preis" in done.stderr
    assert state(service, "haus")["learned"] == 300
    assert state(service, "haus")["spec"]["inputs"]["fields"].keys() == {"fläche", "stadt"}

    # What is printed works as it stands, with the first row of the file.
    calls = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("curl")]
    answers = [sent(call) for call in calls]
    assert json.loads(calls[0][-1]) == {"inputs": [{"fläche": 0.05, "stadt": "Köln"}]}
    assert isinstance(answers[0]["predictions"][0]["value"], float)
    assert answers[1]["accepted"] == 1 and json.loads(calls[1][-1])["items"][0]["label"] == 0.0
    taken = driftline(*arguments, code=1)
    assert "there is already a model 'haus'" in taken.stderr

    # A file of questions: the same numbers as from the client.
    questions = [{"fläche": row / 4, "stadt": "Ulm"} for row in range(700)]
    text = "\n".join(f"{str(row['fläche']).replace('.', ',')};{row['stadt']};{n}" for n, row in enumerate(questions))
    (tmp_path / "neu.csv").write_text(f"fläche;stadt;nummer\n{text}\nviel;Ulm;x\n", encoding="latin-1")
    asked = driftline("predict", "haus", "neu.csv", "-o", "antworten.csv", "--with-inputs", code=1)
    assert "700 rows answered by version" in asked.stderr and "`viel` is not a number" in asked.stderr
    with (tmp_path / "antworten.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    expected = service.client.predict("haus", questions, int(found[0]["version"]))["predictions"]
    values = [float(row["value"]) for row in found]
    assert values == pytest.approx([row["value"] for row in expected], rel=1e-6)
    assert [row["row"] for row in found] == [str(number) for number in range(1, 701)]
    assert (found[3]["nummer"], found[3]["fläche"]) == ("3", "0,75")

    # Their labels, by the ids of the answers.
    labels = "\n".join(f"{row['id']};{row['nummer']},5" for row in found[:50])
    (tmp_path / "labels.csv").write_text(f"prediction_id;label\n{labels}\nfremd;1,5\n")
    given = driftline("feedback", "haus", "labels.csv", code=1)
    assert dict(line.split() for line in given.stdout.splitlines())["sent"] == "50"
    assert "prediction_unknown" in (tmp_path / "labels.csv.refused.csv").read_text()
    item = next(item for item in service.client.log("haus", 302) if item["id"] == f"p:{found[1]['id']}")
    assert (item["label"], item["inputs"]) == (1.5, {"fläche": 0.25, "stadt": "Ulm"})


def sent(call: list[str]) -> Any:
    """What the server answers to a line of curl."""
    url = next(word for word in call if word.startswith("http"))
    headers = dict(call[place + 1].split(": ", 1) for place, word in enumerate(call) if word == "-H")
    response = httpx.post(url, headers=headers, content=call[call.index("-d") + 1].encode())
    assert response.is_success, response.text
    return response.json()


def test_a_file_of_labels_names_rows_by_their_own_keys(service: Instance, driftline: Any, tmp_path: Path) -> None:
    name = make(service, "keyed")
    service.client.predict(name, [{"price": n, "town": "a"} for n in range(3)], keys=["o-1", "o-2", None])
    driftline("predict", name, '[{"price": 9}]', "--row-key", "o-9")
    (tmp_path / "late.csv").write_text("key;label\no-1;yes\no-9;no\n;no\no-7;no\n")
    given = driftline("feedback", name, "late.csv", code=1)
    assert dict(line.split() for line in given.stdout.splitlines())["sent"] == "2"
    refused = (tmp_path / "late.csv.refused.csv").read_text()
    assert "there is no key" in refused and "key_unknown" in refused
    assert [(item["key"], item["label"]) for item in service.client.log(name)] == [("o-1", "yes"), ("o-9", "no")]
    assert json.loads(driftline("receipt", name, "o-1", "--by-key", "--json").stdout)["id"] == "key:o-1"


def test_probabilities_have_a_column_for_each_class(service: Instance, driftline: Any, tmp_path: Path) -> None:
    name = make(service, "classes")
    (tmp_path / "new.csv").write_text("price,town\n1,a\n7,b\n")
    shown = list(csv.DictReader(driftline("predict", name, "new.csv").stdout.splitlines()))
    assert set(shown[0]) == {"row", "id", "version", "label", "probability_no", "probability_yes"}
    assert float(shown[0]["probability_no"]) + float(shown[0]["probability_yes"]) == pytest.approx(1)
    lines = [json.loads(line) for line in driftline("predict", name, "new.csv", "--json").stdout.splitlines()]
    assert [line["row"] for line in lines] == [1, 2] and set(lines[0]["probabilities"]) == {"no", "yes"}
    assert "is the file of the rows" in driftline("predict", name, "new.csv", "-o", "new.csv", code=2).stderr
    # JSON stays JSON.
    assert json.loads(driftline("predict", name, '[{"price": 1}]', "--json").stdout)["predictions"][0]["label"] in (
        "no",
        "yes",
    )


def test_a_file_of_rows_and_labels_is_feedback(service: Instance, driftline: Any, tmp_path: Path) -> None:
    name = make(service, "labelled")
    (tmp_path / "labels.csv").write_text("price,town,sold,weight,id,time\n1,a,no,2.5,x1,2024-05-01\n7,b,yes,,,\n")
    first = json.loads(driftline("feedback", name, "labels.csv", "--target", "sold", "--json").stdout)
    again = json.loads(driftline("feedback", name, "labels.csv", "--target", "sold", "--json").stdout)
    assert (first["sent"], again["sent"], again["sent before"]) == (2, 2, 2)
    until(lambda: state(service, name)["learned"] == 2)
    items = list(service.client.log(name))
    assert (items[0]["id"], items[0]["weight"], items[0]["time"], items[0]["route"]) == (
        "x1",
        2.5,
        1714521600.0,
        "live",
    )
    assert re.fullmatch(r"file:[0-9a-f]{16}:2", items[1]["id"])
    assert (
        "has no column 'label': name that of the labels with --target"
        in driftline("feedback", name, "labels.csv", code=2).stderr
    )


def test_a_model_is_made_of_a_pipe_and_need_not_learn_it(service: Instance, driftline: Any, tmp_path: Path) -> None:
    arguments = ("models", "create", "--from", "-", "--target", "sold", "--name", "unlearned", "--no-import")
    done = json.loads(driftline(*arguments, "--json", stdin=sales(80)).stdout)
    assert (done["name"], state(service, "unlearned")["learned"]) == ("unlearned", 0)
    assert set(done["curl"]) == {"predict", "feedback"} and service.url in done["curl"]["predict"]
    assert "rows" not in done


@pytest.mark.parametrize("answer", ["n", "y"])
def test_what_is_in_doubt_is_asked_in_a_terminal(
    service: Instance, environment: dict[str, str], tmp_path: Path, answer: str
) -> None:
    (tmp_path / "history.csv").write_text(sales(30).replace(",", ";"))
    name = f"asked-{answer}"
    command = [sys.executable, "-m", "driftline.cli", "models", "create", "--from", "history.csv", "--target", "sold"]
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        variables = {**environment, "DRIFTLINE_URL": service.url}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(
            [*command, "--name", name, "--no-import"], stdin=theirs, cwd=tmp_path, env=variables, check=False, **pipes
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Make this model?" in done.stderr
    assert done.returncode == (0 if answer == "y" else 1)
    assert (name in {model["name"] for model in service.client.models()}) == (answer == "y")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "create"), "give SPEC.json, or --from FILE"),
        (("models", "create", "--from", "x.csv"), "--from needs --target COLUMN"),
        (("models", "create", "spec.json", "--name", "m"), "--name: only for --from FILE"),
        (("predict", "m", "[[1]]", "-o", "x.csv"), "--output: only for a FILE of rows, which '[[1]]' is not"),
        (
            ("import", "m", "x.csv", "--target", "y", "--delay", "3", "--label-time", "z"),
            "--delay rows later, or at its --label-time",
        ),
    ],
)
def test_options_that_do_not_go_together_are_told(run: Any, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments, COLUMNS="200")
    assert done.returncode == 2 and message in " ".join(done.stderr.split())


def test_what_cannot_be_written_is_told_before_anything_is_sent(
    service: Instance, driftline: Any, tmp_path: Path
) -> None:
    (tmp_path / "history.csv").write_text(sales(30))
    arguments = ("--target", "sold", "--refused", os.fspath(tmp_path / "none" / "r.csv"))
    told = driftline("models", "create", "--from", "history.csv", "--name", "unwritten", *arguments, code=2)
    assert "cannot be written; name another file with --refused" in told.stderr
    assert "unwritten" not in {model["name"] for model in service.client.models()}


def test_an_import_that_is_repeated_after_its_ids_are_forgotten_learns_nothing_twice(
    run: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with instance(tmp_path_factory.mktemp("forgetful"), DRIFTLINE_RECEIPT_SECONDS="1") as service:
        make(service, "late")
        history = tmp_path / "history.csv"
        command = ("import", "late", str(history), "--target", "sold", "--json")

        def imported(*options: str) -> tuple[Any, str]:
            done = run(*command, *options, DRIFTLINE_URL=service.url)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout), done.stderr

        def is_forgotten() -> bool:
            (file, *_) = service.client.imports("late")
            try:
                service.client.receipt("late", f"import:{file['file']}:1")
            except NotFound:
                return True
            return False

        history.write_text(sales(140))
        assert imported()[0]["sent"] == 140
        until(is_forgotten)
        again, told = imported()
        assert (again["rows"], again["sent"], again["sent before"]) == (140, 0, 140)
        assert "rows up to 140 were imported until" in told and "--again" in told
        history.write_text(sales(150))
        grown, _ = imported()
        assert (grown["sent"], grown["sent before"]) == (10, 140)
        assert service.client.model("late")["learned"] == 150
        assert imported("--again")[0]["sent"] == 150
        assert service.client.model("late")["learned"] == 300
        (file,) = service.client.imports("late")
        assert (file["row"], file["is_whole"], file["round"], file["name"]) == (150, True, 1, "history.csv")
