"""Completion of arguments in a shell: it asks the server, and says nothing where that does not answer at once."""

from __future__ import annotations

import typer

from driftline.errors import DriftlineError

SECONDS = 1.0
"""How long a shell waits at most."""


def complete_models(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the models that begin so."""
    from driftline.client.clients import Client

    given = context.params
    try:
        with Client(given.get("url"), key=given.get("key"), timeout=SECONDS, retries=0) as client:
            return [model["name"] for model in client.models() if model["name"].startswith(incomplete)]
    except DriftlineError:
        return []
