"""The examples of the page about the client run, from first to last, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.services import Instance

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


@pytest.mark.slow
def test_the_examples_of_the_page_run(empty_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    monkeypatch.setenv("DRIFTLINE_URL", empty_instance.url)
    for number, block in enumerate(blocks):
        code = block.replace("http://127.0.0.1:8000", empty_instance.url)
        exec(compile(code, f"client.md, block {number}", "exec"), {})
    learned = empty_instance.client.model("sales")["learned"] + empty_instance.client.model("sales")["waiting"]
    assert learned == 1007, "each label of the page, and each once"
