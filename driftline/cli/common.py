"""What the commands share: options, the server that they ask, reading JSON."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.completion import complete_models
from driftline.errors import ConfigurationError, InvalidInput
from driftline.support.json_text import loads

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print the result, or the error, as JSON.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", autocompletion=complete_models)]
AnyModel = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="The model's name.", show_default="all models", autocompletion=complete_models
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is kept.", show_default="driftline-data")
]


@dataclass(frozen=True)
class Server:
    """The server that a command asks, and how its answer is printed."""

    url: Annotated[
        str | None, typer.Option("--url", envvar="DRIFTLINE_URL", help="The server.", show_default="this machine")
    ] = None
    key: Annotated[str | None, typer.Option("--key", envvar="DRIFTLINE_KEY", help="An API key.", show_envvar=True)] = (
        None
    )
    as_json: AsJson = False

    def client(self) -> Client:
        """The client of this command. It asks once: whoever typed the command sees at once what is wrong."""
        from driftline.client.clients import Client

        return Client(self.url, key=self.key, timeout=60.0, retries=0)

    def patient(self, model: str | None = None) -> Client:
        """The client of a command that runs for long: it outlasts a server that is busy or starts again. Whether there is such
        a server, and the ``model``, is asked once."""
        from driftline.client.clients import Client

        with self.client() as client:
            client.models() if model is None else client.model(model)
        return Client(self.url, key=self.key, timeout=300.0, retries=200)


def load_settings(**given: Any) -> Settings:
    """The settings of the environment, with the options that were given."""
    from pydantic import ValidationError

    from driftline.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "_".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"DRIFTLINE_{name.upper()}: {first['msg']}, not {first['input']!r}") from None


def read_text(argument: str) -> str:
    """The argument itself, the content of the file for ``@file``, or standard input for ``-``."""
    if argument == "-":
        return sys.stdin.read()
    if argument.startswith("@"):
        try:
            return Path(argument[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{argument[1:]} cannot be read: {error}") from None
    return argument


def parse_json(text: str) -> Any:
    """A value from JSON; a usage error if it is not JSON."""
    try:
        return loads(text, "this")
    except InvalidInput as error:
        raise typer.BadParameter(error.message) from None


def read_json(argument: str | None) -> Any:
    """The JSON of an argument: itself, ``@file`` or ``-``; None if it was not given."""
    return None if argument is None else parse_json(read_text(argument))
