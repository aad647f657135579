"""The errors' way over HTTP: what the server raises is what the client raises."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.responses import error_content
from driftline import errors
from driftline.client.requests import check
from driftline.errors import DriftlineError
from tests.source_files import FILES, read


def below(base: type[DriftlineError]) -> Iterator[type[DriftlineError]]:
    for child in base.__subclasses__():
        yield child
        yield from below(child)


CLASSES = sorted({error for error in below(DriftlineError) if error.__module__ == errors.__name__}, key=str)
OWN_CODES = frozenset().union(*(error.codes | {error.default_code} for error in CLASSES))
CODES = st.one_of(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), st.sampled_from(sorted(OWN_CODES)))


def sent(error: DriftlineError, is_v2: bool = False) -> DriftlineError:
    """The error that the client raises when the server raises ``error``."""
    status, body, headers = error_content(error, is_v2)
    request = httpx.Request("GET", "http://127.0.0.1/v1/models")
    with pytest.raises(DriftlineError) as caught:
        check(httpx.Response(status, headers=list(headers), content=body, request=request))
    return caught.value


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("is_v2", [False, True])
def test_every_class_comes_back_as_itself(kind: type[DriftlineError], is_v2: bool) -> None:
    for code in kind.codes | {kind.default_code}:
        found = sent(kind("what went wrong", code=code, retry_after=2.0, field="inputs"), is_v2)
        assert found.message == "what went wrong" and found.retry_after == 2.0
        if not is_v2:
            assert type(found) is kind and found.status == kind.status
            assert found.as_json() == {"code": code, "message": "what went wrong", "details": {"field": "inputs"}}
        elif kind.status not in (409, 500):  # A sentence has no code, which alone tells these apart.
            assert type(found) is kind


@given(st.sampled_from(CLASSES), CODES)
def test_a_code_of_its_own_leaves_the_class_that_its_status_stands_for(kind: type[DriftlineError], code: str) -> None:
    found = sent(kind("what went wrong", code=code))
    assert found.code == code and found.status == kind.status
    if code not in OWN_CODES:
        assert type(found) is errors.PRIMARY[kind.status]


@given(st.integers(300, 599), CODES)
def test_every_status_and_code_has_a_class_and_a_fault_of_the_server_is_told_as_such(status: int, code: str) -> None:
    body = json.dumps({"error": {"code": code, "message": "what went wrong"}})
    response = httpx.Response(status, content=body, request=httpx.Request("GET", "http://127.0.0.1/v1/models"))
    with pytest.raises(DriftlineError) as caught:
        check(response)
    found = caught.value
    assert (found.status, found.code, found.message) == (status, code, "what went wrong")
    if status not in errors.PRIMARY:
        assert type(found) is (errors.ServerError if status >= 500 else DriftlineError)
    if isinstance(found, errors.ConfigurationError):
        assert status == 500 and code in errors.ConfigurationError.codes | {"configuration"}


def raised_codes(name: str) -> set[str]:
    """The codes that the source gives to errors of a class."""
    return {code for path in FILES.values() for called, code in read(path).codes if called == name}


@pytest.mark.parametrize("kind", [errors.ConfigurationError, errors.CorruptData, errors.Fenced])
def test_a_class_that_shares_its_status_names_every_code_that_it_is_raised_with(kind: type[DriftlineError]) -> None:
    assert raised_codes(kind.__name__) == kind.codes
