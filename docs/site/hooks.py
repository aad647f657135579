"""What the site shows beside the files in ``docs/``: references made from the code, and links as they read there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from app.openapi import described

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
PYTHON = """# Python

What `from driftline import …` gives. [Python client](../client.md) shows how it is used.

::: driftline.Client
    options:
      members_order: alphabetical

::: driftline.AsyncClient
    options:
      members: false

::: driftline.ModelHandle

## Errors

::: driftline.errors
    options:
      show_root_heading: false
      heading_level: 3
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made from the code."""
    files.append(File.generated(config, "reference/http.md", content="\n".join(http_reference(described()))))
    files.append(File.generated(config, "reference/python.md", content=PYTHON))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """What a link to a file of the repository names is shown as its path; the README is the site's first page."""
    is_made = page.file.src_uri.startswith("reference/")
    return markdown if is_made else OUTSIDE.sub(lambda link: _inside(*link.groups()), markdown)


def _inside(text: str, path: str) -> str:
    if path.startswith("README.md"):
        return f"[{text}](index.md)"
    return text if path in text else f"{text} (`{path}`)"


def http_reference(page: dict[str, Any]) -> Iterator[str]:
    """Each call of the interface, by tag, with the fields that are sent and answered."""
    yield "# HTTP\n\nEvery call, as a running server shows it at `/docs`. [API](../api.md) explains them.\n"
    for tag in page["tags"]:
        yield f"## {tag['name'][0].upper()}{tag['name'][1:]}\n\n{tag['description']}\n"
        for path, methods in page["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(method, path, operation, page["components"]["schemas"])


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield f"### {operation['summary']}\n\n`{method.upper()} {path}`\n\n{operation.get('description', '')}\n"
    yield from _table("in the query", _query(operation))
    body = operation.get("requestBody", {}).get("content", {})
    yield from _table("sent", _fields(next(iter(body.values()), {}).get("schema", {}), schemas))
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            content = next(iter(answer.get("content", {}).values()), {})
            yield from _table(f"answered, {status}", _fields(content.get("schema", {}), schemas))


def _query(operation: dict[str, Any]) -> list[tuple[str, str, str]]:
    asked = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    return [(one["name"], _type(one.get("schema", {})), one.get("description", "")) for one in asked]


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = _resolved(schema, schemas)
    return [
        (name, _type(field), field.get("description", "") or _resolved(field, schemas).get("description", ""))
        for name, field in found.get("properties", {}).items()
    ]


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schemas.get(name, schema)
    return found


def _type(schema: dict[str, Any]) -> str:
    """The type in a word or two: ``array of number``, ``string or null``."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"array of {_type(schema.get('items', {}))}" if kind == "array" else str(kind)


def _table(title: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        yield f"| {title} | type | |\n|---|---|---|"
        yield from (f"| `{name}` | {kind} | {_cell(text)} |" for name, kind, text in rows)
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
