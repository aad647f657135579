"""``docs/settings.md`` names every setting, with its default and what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from driftline.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
PAGE_HEAD = """# Settings

Environment variables, read once at the start of each process. Sizes are in bytes, times in seconds.

| variable | default | what |
|---|---|---|
"""


def rows() -> Iterator[str]:
    """The table that the settings ask for."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, []) else f"`{field.default}`"
        yield f"| `DRIFTLINE_{name.upper()}` | {default} | {field.description} |"


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == PAGE_HEAD + "\n".join(rows()) + "\n"


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())
