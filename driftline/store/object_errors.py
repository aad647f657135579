"""What an object store refuses, as errors of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from obstore.exceptions import BaseError

from driftline.errors import Unavailable
from driftline.store.blobs import missing


@contextlib.contextmanager
def of_blob(verb: str, place: str, digest: str) -> Iterator[None]:
    """What the object store refuses is :class:`Unavailable`, and an object that is not there :class:`CorruptData`."""
    try:
        with refusals(verb, place):
            yield
    except FileNotFoundError:
        raise missing(place, digest) from None


@contextlib.contextmanager
def refusals(verb: str, place: str) -> Iterator[None]:
    """What the object store refuses is :class:`Unavailable`; an object that is not there is :class:`FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
            raise refused(verb, place, "there is no such bucket") from None
        raise
    except (BaseError, OSError) as error:
        raise refused(verb, place, brief(error)) from error


def refused(verb: str, place: str, why: str) -> Unavailable:
    return Unavailable(
        f"cannot {verb} {place}: {why}; it is tried again until the object store takes it",
        code="object_store",
        retry_after=5,
    )


def brief(error: BaseException) -> str:
    """What an object store has said, without the request: its code and message where it has given them."""
    text = str(error)
    told = [found[1] for name in ("Code", "Message") if (found := re.search(f"<{name}>([^<]{{1,200}})</{name}>", text))]
    if told:
        return ": ".join(told)
    first = (text.splitlines() or [type(error).__name__])[0]
    first = re.sub(r"^.*?retry_timeout: \S+\s*- ", "", first)
    return re.sub(r"\?\S*", "", first)[:200]
