"""What ``import driftline`` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import driftline
from driftline import errors
from driftline.client import clients

CLIENT = ("AsyncClient", "Client", "FeedbackRefused", "ModelHandle")
ERRORS = [
    name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, errors.DriftlineError)
]


def test_the_clients_and_every_error_are_at_the_top() -> None:
    assert (driftline.Client, driftline.AsyncClient) == (clients.Client, clients.AsyncClient)
    assert sorted([*ERRORS, *CLIENT, "__version__"]) == sorted(driftline.__all__)
    assert all(getattr(driftline, name) is getattr(errors, name) for name in ERRORS)


def test_star_takes_what_is_listed() -> None:
    names: dict[str, object] = {}
    exec("from driftline import *", names)
    assert names.keys() - {"__builtins__"} == set(driftline.__all__)
    assert set(driftline.__all__) <= set(dir(driftline))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'driftline' has no attribute 'Klient'"):
        driftline.Klient  # noqa: B018
    with pytest.raises(ImportError, match="Klient"):
        exec("from driftline import Klient")


@pytest.mark.parametrize(
    ("program", "loaded"),
    [
        ("import driftline", set()),
        ("from driftline import DriftlineError", {"driftline.errors"}),
        ("from driftline import Client", {"driftline.client.clients", "driftline.errors", "httpx"}),
    ],
)
def test_only_what_is_asked_for_is_loaded(program: str, loaded: set[str]) -> None:
    own = ("driftline.client.clients", "driftline.errors", "driftline.settings")
    heavy = ("torch", "httpx", "redis", "numpy", "pydantic", "msgspec", "asyncio", "pandas", "pyarrow", *own)
    program = f"{program}; import sys; print(*(name for name in {heavy} if name in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) == loaded
