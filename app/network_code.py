"""The code of a model's network, which is a user's own where a factory makes it: whatever it raises has one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from driftline.errors import ServerError, UserCodeFailed
from driftline.networks.user_code import told, user_code


@contextmanager
def network_code(what: str) -> Iterator[None]:
    """Around code of the network ``what``: :class:`ServerError` ``network_failed`` says what it raised.

    A network that calls ``sys.exit()`` has failed too: it must end neither the process nor the other models' answers.
    """
    try:
        with user_code(what):
            yield
    except UserCodeFailed as failed:
        raise ServerError(failed.message, code="network_failed") from failed.__cause__
    except SystemExit as error:
        raise ServerError(f"{what} failed: {told(error)}", code="network_failed") from error
