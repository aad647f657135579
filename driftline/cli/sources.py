"""``sources``: what the labels of a model, and rows to be answered, are read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from driftline.cli.common import ModelName, Server, read_json
from driftline.cli.output import print_fields, print_json, print_table
from driftline.cli.parameters import expanded

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the source goes by.")]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="The source: JSON, @file, or -.")]
Changes = Annotated[str, typer.Argument(metavar="JSON", help="The fields to change: JSON, @file, or -.")]
OneSource = Annotated[str | None, typer.Option("--source", help="Of this source alone.", show_default="all sources")]
COLUMNS = ("name", "type", "state", "taken", "refused", "dead", "waiting", "lag", "reason")
SHOWN = 60


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sources = typer.Typer(help="Read labels and rows from streams, tables and files.", no_args_is_help=True)
    for name, command in (
        ("list", list_sources),
        ("show", show),
        ("add", add),
        ("try", try_),
        ("change", change),
        ("pause", pause),
        ("resume", resume),
        ("remove", remove),
        ("dead", dead),
    ):
        sources.command(name)(expanded(command))
    app.add_typer(sources, name="sources")


def list_sources(model: ModelName, server: Server) -> None:
    """The sources of a model, and how each does."""
    with server.client() as client:
        found = client.sources(model)
    if server.as_json:
        print_json(found)
        return
    empty = f"there is no source; make one: driftline sources add {model} SPEC"
    print_table([_row(each) for each in found], COLUMNS, False, empty=empty)


def _row(source: Mapping[str, Any]) -> dict[str, Any]:
    records, seconds = source["lag_records"], source["lag_seconds"]
    lag = "–" if seconds is None else f"{seconds:.0f} s" if records is None else f"{records:,} records, {seconds:.0f} s"
    return {**source, "lag": lag, "reason": source["reason"] or "–"}


def show(model: ModelName, name: Name, server: Server) -> None:
    """One source: how it is configured, how far it is, what it has lost."""
    with server.client() as client:
        print_fields(client.source(model, name), server.as_json)


def add(model: ModelName, spec: Spec, server: Server) -> None:
    """Read labels, or rows to be answered, from a source. It begins within a second or two.

    For example: driftline sources add churn '{"type": "redis_stream", "name": "labels", "url": "redis://h", "stream": "s"}'
    """
    with server.client() as client:
        print_fields(client.make_source(model, read_json(spec)), server.as_json)


def try_(model: ModelName, spec: Spec, server: Server) -> None:
    """The first ten records of a source as they would be learned, with what is wrong with each. Nothing is taken."""
    with server.client() as client:
        found = client.try_source(model, read_json(spec))
    rows: list[dict[str, Any]] = [
        {
            "place": each["place"],
            "record": _short(each["raw"]),
            "item": "–" if each.get("item") is None else _short(str(each["item"])),
            "error": each.get("error") or "–",
        }
        for each in found
    ]
    if server.as_json:
        print_json(found)
    else:
        print_table(rows, ("place", "record", "item", "error"), False, empty="nothing has come within five seconds")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def change(model: ModelName, name: Name, changes: Changes, server: Server) -> None:
    """Change fields of a source; null takes one out. Its position stays."""
    body = read_json(changes)
    if not isinstance(body, dict):
        raise typer.BadParameter("the changes are an object of fields")
    with server.client() as client:
        print_fields(client.change_source(model, name, body), server.as_json)


def pause(model: ModelName, name: Name, server: Server) -> None:
    """Stop reading a source; what comes there waits there."""
    with server.client() as client:
        print_fields(client.change_source(model, name, {"paused": True}), server.as_json)


def resume(model: ModelName, name: Name, server: Server) -> None:
    """Go on reading a source, from where it was."""
    with server.client() as client:
        print_fields(client.change_source(model, name, {"paused": False}), server.as_json)


def remove(
    model: ModelName,
    name: Name,
    server: Server,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget its position too: made again, it is read from its beginning.")
    ] = False,
) -> None:
    """Read a source no longer. Its position stays, and what it could not take is dropped."""
    with server.client() as client:
        print_fields(client.remove_source(model, name, forget=forget), server.as_json)


def dead(
    model: ModelName,
    server: Server,
    source: OneSource = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many are shown at most.")] = 20,
    is_sent: Annotated[bool, typer.Option("--send", help="Send them again.")] = False,
    is_dropped: Annotated[bool, typer.Option("--drop", help="Keep them no longer.")] = False,
) -> None:
    """What sources could not take, and why, the newest first; it can be sent again, as after a class was added."""
    if is_sent and is_dropped:
        raise typer.BadParameter("either --send or --drop")
    with server.client() as client:
        if is_sent:
            outcome = client.send_dead_letters(model, source)
            wrong = [each for each in outcome["letters"] if "error" in each]
            if server.as_json:
                print_json(outcome)
            else:
                print_fields({"sent": outcome["sent"], "left": outcome["left"]}, False)
                for each in wrong[:limit]:
                    print(f"{each['id']}  {each['error']}")
            if wrong and not outcome["sent"]:
                raise typer.Exit(1)
            return
        if is_dropped:
            print_fields({"dropped": client.drop_dead_letters(model, source)}, server.as_json)
            return
        letters = client.dead_letters(model, source, limit)
    if server.as_json:
        print_json(letters)
        return
    rows = [{**each, "record": _short(each["raw"])} for each in letters]
    print_table(rows, ("time", "source", "place", "reason", "record"), False, empty="all that came was taken")
