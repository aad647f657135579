"""The page at ``/``: files of the package, kept by browsers for as long as they are the same, and shown to everyone."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from app.routes.page import FOLDER, Page
from driftline.api.events import KINDS
from driftline.api_keys import KeyStore

from .conftest import AppClient, Start

pytestmark = pytest.mark.anyio

MAX_VENDORED = 60_000
MAX_WHOLE = 110_000
MAX_FIRST = 45_000
"""Bytes, compressed: of what others wrote, of all files, and of those that the page begins with."""


async def linked(client: AppClient) -> list[str]:
    """What the page names: its scripts, styles and icon."""
    text = (await client.get("/")).text
    return re.findall(r'(?:href|src)="(page/[^"]+)"', text)


async def test_the_page_has_every_file_that_it_names(client: AppClient) -> None:
    names = await linked(client)
    assert len(names) > 20
    for name in names:
        answer = await client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_every_script_that_it_begins_with_is_named_so_that_none_is_awaited_by_another(client: AppClient) -> None:
    named = {name.split("/", 2)[2] for name in await linked(client) if name.endswith(".js")}
    scripts = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js")}
    assert {"main.js", "app.js", "overview.js", "vendor/preact.js"} <= named < scripts
    assert not {"model/view.js", "vendor/uplot.js", "keys.js"} & named, "views are loaded when they are shown"
    page = Page()
    assert named == set(page.imported_by("main.js"))
    later = {name for name in scripts - named if name.endswith(("view.js", "keys.js", "workers.js"))}
    reached = named.union(*(page.imported_by(name) for name in later))
    assert reached == scripts, "no script is left over"


async def test_every_import_is_of_a_script_that_is_there() -> None:
    for path in FOLDER.rglob("*.js"):
        for name in re.findall(r'(?:from|import) ?"([^"]+)"', path.read_text()):
            assert name.startswith("."), f"{path.name} imports {name}: there is no build that finds it"
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


async def test_what_a_browser_has_is_not_sent_again(client: AppClient) -> None:
    for name in ("", *await linked(client)):
        first = await client.get(f"/{name}")
        again = await client.get(f"/{name}", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_files_of_another_release_are_not_kept(client: AppClient) -> None:
    """While replicas are replaced, one may be asked for what another one has named."""
    answer = await client.get("/page/0123456789abcdef/main.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["nothing.js", "../routes/page.py", "..%2froutes%2fpage.py", "index.html", ""])
async def test_nothing_else_is_served(client: AppClient, name: str) -> None:
    assert (await client.get(f"/page/0123456789abcdef/{name}")).status_code == 404


async def test_the_page_runs_its_own_scripts_alone(client: AppClient) -> None:
    answer = await client.get("/")
    rules = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(rules)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", answer.text)


async def test_the_page_asks_for_the_key_itself(start: Start, tmp_path: Path) -> None:
    KeyStore(tmp_path / "keys.json").create(["admin"])
    client = await start()
    assert (await client.get("/v1/models")).status_code == 401
    for name in ("", *await linked(client)):
        assert (await client.get(f"/{name}")).status_code == 200


async def test_the_description_of_the_interface_stays_at_docs(client: AppClient) -> None:
    assert "swagger" in (await client.get("/docs")).text
    assert 'href="docs"' in (await client.get("/")).text


def compressed(folder: Path) -> int:
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in folder.rglob("*") if path.suffix in (".js", ".css"))


async def test_the_page_is_small(client: AppClient) -> None:
    assert compressed(FOLDER / "vendor") < MAX_VENDORED
    assert compressed(FOLDER) < MAX_WHOLE
    sent = [await client.get(f"/{name}", headers={"accept-encoding": "gzip"}) for name in ("", *await linked(client))]
    assert sum(int(answer.headers["content-length"]) for answer in sent) < MAX_FIRST


async def test_whatever_is_of_others_comes_with_its_licence() -> None:
    text = (FOLDER / "vendor" / "LICENSES.txt").read_text()
    for path in (FOLDER / "vendor").iterdir():
        assert path.name == "LICENSES.txt" or re.search(rf"^{re.escape(path.name)} +\w+ \d", text, re.MULTILINE), path
    assert "MIT License" in text and "Apache License" in text


async def test_the_kinds_of_events_are_those_of_the_interface() -> None:
    text = (FOLDER / "event_kinds.js").read_text()
    listed = re.search(r"KINDS = \[(.*?)\];", text, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r'"(\w+)"', listed[1])) == KINDS.keys()


async def test_a_changed_file_is_another_path(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script src="page/files/main.js"></script>')
    (tmp_path / "main.js").write_text("1")
    first = Page(tmp_path)
    assert first.digest.encode() in first.index.body
    (tmp_path / "main.js").write_text("2")
    second = Page(tmp_path)
    assert second.digest != first.digest
    assert second.digest.encode() in second.index.body
