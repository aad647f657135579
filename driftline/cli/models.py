"""``models``: create, list, show and delete models."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from driftline.cli.common import ModelName, Server, parse_json, read_text
from driftline.cli.following import Watch, show_rows
from driftline.cli.from_file import FileCommand, create_from_file, weights_as_sent
from driftline.cli.history import Waits
from driftline.cli.infer import Name
from driftline.cli.output import print_fields
from driftline.cli.own_network import NetworkChoices, listed_classes
from driftline.cli.parameters import expanded
from driftline.cli.table_options import PastChoices, ReadingChoices, Refused, TableChoices, refuse_options

Spec = Annotated[
    str | None,
    typer.Argument(
        metavar="[SPEC.json]", help="The spec's file; - reads it from standard input. With --factory the name."
    ),
]
FromFile = Annotated[
    str | None, typer.Option("--from", metavar="FILE", help="Instead: a file of rows, whose spec is inferred.")
]
FileTarget = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="Of the file: the column that is the label; may be repeated: the outputs of a regression.",
    ),
]
Imports = Annotated[bool, typer.Option("--import/--no-import", help="Of the file: learn its rows.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Of the file: ask nothing.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Pretrained weights: a safetensors file, or Keras' as .npz.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(help="Make, list, show and remove models.", no_args_is_help=True)
    models.command("list")(expanded(list_models))
    for command in (create, adapt, export, show, delete):
        models.command()(expanded(command))
    app.add_typer(models, name="models")


PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
COLUMNS = ("name", "task", "version", "learned", "waiting", "state")


def list_models(server: Server, is_watched: Watch = False) -> None:
    """Every model."""
    with server.client() as client:
        show_rows(
            lambda: [{**model, "task": model.get("spec", {}).get("task")} for model in client.models()],
            COLUMNS,
            as_json=server.as_json,
            empty="there is no model yet; make one: driftline models create SPEC.json, or --from FILE",
            is_watched=is_watched,
        )


def create(
    choices: TableChoices,
    reading: ReadingChoices,
    past: PastChoices,
    network: NetworkChoices,
    server: Server,
    spec: Spec = None,
    weights: Weights = None,
    file: FromFile = None,
    target: FileTarget = None,
    name: Name = None,
    is_importing: Imports = True,
    refused: Refused = None,
    is_waiting: Waits = True,
    is_sure: Yes = False,
) -> None:
    """Make a model from its spec; or from a file of rows: infer the spec, make the model, learn the rows; or from a network of
    your own, which is tried out first.

    For example: driftline models create --from history.csv --target sold --name churn

    Or: driftline models create NAME --factory mine:net --weights FILE --example example.json --classes dog,cat
    """
    if (spec is None) == (file is None):
        raise typer.BadParameter("give SPEC.json, or --from FILE with --target COLUMN")
    if file is not None:
        if not target:
            raise typer.BadParameter("--from needs --target COLUMN, the column that is the label")
        past.check()
        refuse_options({"--factory": network.factory, **network.given()}, "--factory, which goes without --from")
        given = FileCommand(file, target, name, choices, reading, past, refused, is_importing, is_waiting)
        create_from_file(given, weights, server, is_sure=is_sure)
        return
    assert spec is not None
    others = {"--target": target, "--name": name, "--refused": refused, "--yes": is_sure}
    not_done = {"--no-import": not is_importing, "--no-wait": not is_waiting}
    table = choices.given() | ({"--task": None} if network.factory is not None else {})
    refuse_options({**others, **not_done, **table, **reading.given(), **past.given()}, "--from FILE")
    example = None
    if network.factory is not None:
        body, example = network.read(spec, choices.task)
    else:
        refuse_options(network.given(), "--factory MODULE:FUNCTION")
        body = parse_json(read_text(spec if spec == "-" else f"@{spec}"))
    with server.client() as client:
        print_fields(client.create_model(body, weights_as_sent(weights, body), example), server.as_json)


def adapt(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model to begin with.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the new model goes by.")],
    server: Server,
    rank: Annotated[int, typer.Option("--rank", min=1, help="The rank of each adapter.")] = 8,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="LAYER", help="A layer that has one; may be repeated.", show_default="all"),
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Which version of the base.", show_default="the live one")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="LIST", help="Its own classes, as dog,cat; or how many: 10 is 0 to 9."),
    ] = None,
    peft: Annotated[
        Path | None,
        typer.Option("--peft", metavar="FOLDER", help="An adapter to begin with, as PEFT has saved it."),
    ] = None,
) -> None:
    """Make a model that begins as another one and trains adapters on it: the base's weights stay as they are, and are shared.

    For example: driftline models adapt bert customer-17 --rank 8
    """
    adapter: dict[str, Any] = {"rank": rank} | ({"layers": layer} if layer else {})
    if peft is not None:
        refuse_options({"--layer": layer}, "adapters of its own, not with --peft")
        adapter = {"peft": parse_json(read_text(f"@{peft / PEFT_CONFIG}"))}
    network: dict[str, Any] = {"base": base, "adapter": adapter}
    network |= {"version": version} if version is not None else {}
    own = listed_classes(classes)
    spec = {"name": name, "network": network} | ({"classes": own} if own is not None else {})
    weights = peft / PEFT_WEIGHTS if peft is not None else None
    with server.client() as client:
        print_fields(client.create_model(spec, weights), server.as_json)


def export(
    model: ModelName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where its two files go.")],
    server: Server,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Which version.", show_default="the live one")
    ] = None,
) -> None:
    """Write the adapters of a model on a base as PEFT does, for PeftModel.from_pretrained and `models adapt --peft`.

    For example: driftline models export customer-17 customer-17-adapter
    """
    with server.client() as client:
        number = version or client.model(model)["version"]
        found = client.adapter(model, number)
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        PEFT_CONFIG: json.dumps(found["config"], indent=2).encode(),
        PEFT_WEIGHTS: base64.b64decode(found["weights"]),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    print_fields({"model": model, "version": number, "folder": str(folder)}, server.as_json)


def show(model: ModelName, server: Server) -> None:
    """One model as it stands now."""
    with server.client() as client:
        print_fields(client.model(model), server.as_json)


def delete(model: ModelName, server: Server) -> None:
    """Remove a model and all it has learned."""
    with server.client() as client:
        print_fields(client.delete_model(model) or {"deleted": model}, server.as_json)
