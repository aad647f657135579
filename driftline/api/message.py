"""How messages are declared: the string below a field describes it, here and on the OpenAPI page.

Answers are typed dictionaries: what the app builds is what it sends, and what the client gives is what came. A message that
others extend describes its fields in their types, since strings are not inherited.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, with_config

message = with_config(ConfigDict(use_attribute_docstrings=True))
"""A message that may have more fields than it names."""

closed = with_config(ConfigDict(use_attribute_docstrings=True, extra="forbid"))
"""A message that has the fields it names, and no other."""


class Body(BaseModel):
    """A body that is checked field by field; one that it does not know is refused."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")
