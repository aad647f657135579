"""Docstrings as the site reads them: the roles and literal blocks of reStructuredText become Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
BLOCK = re.compile(r"(?m)^(.*?)::$")


class Markdown(griffe.Extension):
    """Rewrites each docstring once it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """
    >>> as_markdown("errors of :mod:`driftline.errors`, as here::")
    'errors of `driftline.errors`, as here:'
    """
    return BLOCK.sub(lambda line: f"{line[1]}:" if line[1].strip() else "", ROLE.sub(r"`\1`", text))
