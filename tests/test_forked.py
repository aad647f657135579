"""A process that the tests fork is as one that they start."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

import pytest

from tests import forked

SHOWING = """
import atexit, json, os, signal, sys, tempfile, threading
handlers = {number: str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)}
shown = {"argv": sys.argv[1:], "name": __name__, "folder": os.getcwd(), "handlers": handlers, "said": sys.stdin.read()}
shown |= {"umask": os.umask(0), "terminal": sys.stdout.isatty(), "group": os.getpgid(0) == os.getpid()}
shown |= {"temporary": tempfile.gettempdir(), "encoding": sys.stdout.encoding, "files": sorted(os.listdir("/dev/fd"))}
shown |= {"environment": {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}}
print(json.dumps(shown, indent=1))
print("é", file=sys.stderr)
atexit.register(print, "at the end")
threading.Timer(0.01, print, ["after all"]).start()
ends = {"code": lambda: sys.exit(7), "words": lambda: sys.exit("no"), "error": lambda: 1 / 0, "nothing": lambda: None}
ends[sys.argv[1]]()
"""


@pytest.mark.parametrize("end", ["code", "words", "error", "nothing"])
def test_it_finds_and_ends_with_the_same(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "showing.py").write_text(SHOWING)
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "PYTHONUTF8": "1", "DRIFTLINE_SEED": "1"}

    def run() -> CompletedProcess[str]:
        return forked.run(["-P", "showing.py", end, "x y"], env, tmp_path, stdin="said\n")

    one = run()
    monkeypatch.setenv("DRIFTLINE_TEST_COLD", "1")
    other = run()
    assert one.stdout == other.stdout and '"said": "said\\n"' in one.stdout
    assert one.returncode == other.returncode == {"code": 7, "nothing": 0}.get(end, 1)
    assert one.stderr.splitlines()[:1] == ["é"]
    assert one.stderr.splitlines()[-1] == other.stderr.splitlines()[-1]


def test_it_can_be_killed(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    process = forked.start(["-P", "waiting.py"], os.environ, tmp_path)
    assert process.stdout is not None
    with process.stdout as printed:
        assert printed.readline() == "here\n"
        assert process.poll() is None
        with pytest.raises(TimeoutExpired):
            process.wait(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == process.poll() == process.returncode == -signal.SIGKILL
        assert printed.read() == ""
    process.kill()
