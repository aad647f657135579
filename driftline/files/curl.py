"""What an application would send, as lines for a shell."""

from __future__ import annotations

import shlex
from typing import Any

import orjson

from driftline.api import endpoints


def predict_line(url: str, model: str, inputs: dict[str, Any], *, has_key: bool) -> str:
    """The line that asks for the answer of one row."""
    return _line(url, endpoints.PREDICT.url({"model": model}, {}), {"inputs": [inputs]}, has_key)


def feedback_line(url: str, model: str, item: dict[str, Any], *, has_key: bool) -> str:
    """The line that hands in one label."""
    return _line(url, endpoints.GIVE_FEEDBACK.url({"model": model}, {}), {"items": [item]}, has_key)


def _line(url: str, path: str, body: dict[str, Any], has_key: bool) -> str:
    headers = "-H 'Content-Type: application/json'"
    if has_key:
        # The key itself belongs neither on the screen nor into a history.
        headers += ' -H "Authorization: Bearer $DRIFTLINE_KEY"'
    return f"curl -sS {shlex.quote(url.rstrip('/') + path)} {headers} -d {shlex.quote(orjson.dumps(body).decode())}"
