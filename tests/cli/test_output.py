"""What commands print, and how they end, wherever their output goes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline.cli.endings import EXIT_CODES
from tests.cli.reference import commands, table
from tests.scripted_server import ScriptedServer
from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[2]
REASON = "not worse: error 0.125 to 0.250 on 512 latest labels, and the holdout of 4,096 examples says the same of it"
VERSIONS = {
    "versions": [
        {
            **{
                "version": number,
                "parent": number - 1,
                "step": number,
                "offset": 32 * number,
                "created": 1_796_000_000.25,
            },
            **{"reason": REASON, "scores": {"holdout_error": 0.125, "latest_error": 0.25}},
        }
        for number in range(2, 40)
    ]
}
WITH_SIGNS = {
    "versions": [{"version": 1, "created": 1_796_000_000.0, "reason": "größer → besser · 99 %", "scores": {}}]
}
Command = Callable[..., list[str]]


def driftline(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "driftline.cli", *arguments]


def test_a_table_in_a_pipe_is_whole(server: ScriptedServer, run: Any) -> None:
    server.answers = [(200, VERSIONS)]
    lines = run("versions", "m", "--url", server.url, COLUMNS="40").stdout.splitlines()
    assert lines[0].split() == [
        "version",
        "parent",
        "created",
        "offset",
        "step",
        "holdout",
        "error",
        "latest",
        "error",
        "reason",
    ]
    assert len(lines) == 39 and all(line.endswith(REASON) for line in lines[1:])
    assert "0.125" in lines[1] and "2026-11-30T00:53:20Z" in lines[1]


def test_a_full_disk_is_one_sentence_and_a_reader_who_goes_is_none(
    server: ScriptedServer, environment: dict[str, str]
) -> None:
    for arguments in (("versions", "m"), ("versions", "m", "--json"), ("--help",)):
        server.answers = [(200, VERSIONS)] * 2
        call = driftline(*arguments, *(("--url", server.url) if "m" in arguments else ()))
        with open("/dev/full", "w") as full:
            done = subprocess.run(call, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert "Traceback" not in done.stderr and "No space left" in done.stderr, done.stderr
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        read, write = os.pipe()
        os.close(read)
        gone = subprocess.run(call, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert (gone.returncode, gone.stderr) == (0, "")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_an_ascii_terminal_gets_plain_signs(server: ScriptedServer, run: Any, variables: dict[str, str]) -> None:
    server.answers = [(200, WITH_SIGNS), (200, WITH_SIGNS)]
    done = run("versions", "m", "--url", server.url, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    if variables.get("PYTHONIOENCODING"):
        assert "gr\\u00f6\\u00dfer -> besser - 99 %" in done.stdout
        found = json.loads(run("versions", "m", "--json", "--url", server.url, **variables).stdout)
        assert found[0]["reason"] == "größer → besser · 99 %"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:9", "nonsense://x"])
def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(
    server: ScriptedServer, run: Any, proxy: str
) -> None:
    server.answers = [(200, VERSIONS)]
    done = run("versions", "m", "--url", server.url, ALL_PROXY=proxy, HTTP_PROXY=proxy)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_proxy_that_cannot_be_used_says_what_to_do(run: Any) -> None:
    done = run("versions", "m", "--url", "http://driftline.invalid", ALL_PROXY="socks5://127.0.0.1:9")
    assert "Traceback" not in done.stderr and done.returncode in (1, 3)
    if done.returncode == 1:
        assert "httpx[socks]" in done.stderr and "NO_PROXY" in done.stderr


ERRORS = [
    ((404, "unknown_model"), 1),
    ((422, "invalid_input"), 2),
    ((429, "queue_full"), 3),
    ((503, "store_down"), 3),
    ((401, "no_key"), 4),
    ((403, "missing_scope"), 4),
]


@pytest.mark.parametrize(("answer", "code"), ERRORS)
def test_an_error_is_json_where_the_result_would_be(
    server: ScriptedServer, run: Any, answer: tuple[int, str], code: int
) -> None:
    error = {"code": answer[1], "message": "it is so", "details": {"field": "model"}}
    server.answers = [(answer[0], {"error": error})] * 2
    done = run("models", "show", "m", "--json", "--url", server.url)
    assert (done.returncode, done.stdout) == (code, "") and json.loads(done.stderr) == {"error": error}
    done = run("models", "show", "m", "--url", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "driftline: it is so\n")
    assert code in EXIT_CODES


def test_a_wrong_option_is_json_too(run: Any) -> None:
    done = run("rollback", "m", "x", "--json")
    assert done.returncode == 2 and json.loads(done.stderr)["error"]["code"] == "usage"


class Terminal:
    """A command in a terminal of so many columns."""

    def __init__(self, arguments: list[str], environment: dict[str, str], columns: int) -> None:
        self.master, slave = pty.openpty()
        variables = {**environment, "COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
        self.process = subprocess.Popen(driftline(*arguments), env=variables, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.text = ""

    def read_until(self, wanted: str | None) -> str:
        """Reads until something stands there; None: to the end."""
        deadline = time.monotonic() + SECONDS
        while (wanted is None or wanted not in self.text) and time.monotonic() < deadline:
            if not select.select([self.master], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(self.master, 65536)
            except OSError:
                break
            if not part:
                break
            self.text += part.decode()
        assert wanted is None or wanted in self.text, self.text
        return self.text

    def end(self) -> int:
        self.read_until(None)
        os.close(self.master)
        return self.process.wait(SECONDS)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, columns: int = 80) -> Terminal:
        opened.append(Terminal(list(arguments), environment, columns))
        return opened[-1]

    yield start
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_shows_all_of_a_table_and_how_long_ago_it_was(
    server: ScriptedServer, terminal: Callable[..., Terminal], columns: int
) -> None:
    server.answers = [(200, {"versions": [{**VERSIONS["versions"][0], "created": time.time() - 200}]})]
    opened = terminal("versions", "m", "--url", server.url, columns=columns)
    assert opened.end() == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", opened.text)
    assert "3 min ago" in shown and all(len(line.rstrip()) <= columns for line in shown.splitlines())
    words = "".join(shown.split())
    for word in REASON.split():
        assert word in words or columns == 80, word


def test_ctrl_c_leaves_a_job_running_and_says_how_to_come_back(
    server: ScriptedServer, environment: dict[str, str]
) -> None:
    running = (200, {"id": "u-1", "state": "running", "progress": 0.25})
    server.answers = [(202, {"job_id": "u-1"}), *[running] * 1000]
    process = subprocess.Popen(
        driftline("retrain", "m", "--wait", "--url", server.url),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None and process.stdout is not None
    assert process.stderr.readline() == "job u-1\n", "the id comes first"
    assert process.stderr.readline() == "running, 25%\n"
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, "")
    assert told == "stopped; the job goes on: driftline job u-1 --wait comes back to it, --cancel ends it\n"
    assert all(method != "DELETE" for method, *_ in server.sent)


def test_names_of_models_complete_and_nothing_is_said_where_no_server_is(
    server: ScriptedServer, environment: dict[str, str]
) -> None:
    models = [{"name": name} for name in ("churn", "chess", "weather")]
    server.answers = [(200, {"models": models})]

    def completed(url: str) -> list[str]:
        words = {"COMP_WORDS": "driftline versions ch", "COMP_CWORD": "2", "_DRIFTLINE_COMPLETE": "complete_bash"}
        done = subprocess.run(
            driftline(), env={**environment, **words, "DRIFTLINE_URL": url}, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert completed(server.url) == ["churn", "chess"]
    assert completed("http://127.0.0.1:1") == []


def test_every_command_stands_on_the_page_as_the_app_has_it() -> None:
    page = (ROOT / "docs" / "cli.md").read_text().splitlines()
    shown = page[page.index("| command | what it does | options |") :]
    assert shown == table()
    codes = dict(re.findall(r"^\| (\d+) \| (.*) \|$", "\n".join(page), re.M))
    assert codes == {str(code): text for code, text in EXIT_CODES.items()}


def test_every_command_has_help_that_fits_80_columns(run: Any) -> None:
    for path, command in commands():
        assert command.help, path
    done = run("models", "create", "--help", COLUMNS="80")
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 80
