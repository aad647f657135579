"""``models``: create, list, show and delete models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline.cli.backtest import refusing
from driftline.cli.common import (
    AsJson,
    KeyText,
    ModelName,
    Url,
    connect,
    parse_json,
    print_fields,
    print_table,
    read_text,
)
from driftline.cli.files import refuse_options
from driftline.cli.from_file import FileChoices, PastChoices, create_from_file, weights_as_sent
from driftline.cli.history import Delay, LabelTime, Limit, Refused, Time, Waits, check_lateness
from driftline.cli.infer import Name
from driftline.cli.table_options import Decimal, Delimiter, Drop, Encoding, Header, Intervals, Task, Types

Spec = Annotated[
    str | None, typer.Argument(metavar="[SPEC.json]", help="The spec's file; - reads it from standard input.")
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
    models.command("list")(list_models)
    for command in (create, show, delete):
        models.command()(command)
    app.add_typer(models, name="models")


def list_models(url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Every model."""
    with connect(url, key) as client:
        rows = [{**model, "task": model.get("spec", {}).get("task")} for model in client.models()]
    columns = ("name", "task", "version", "learned", "waiting", "state")
    print_table(
        rows,
        columns,
        as_json,
        empty="there is no model yet; make one: driftline models create SPEC.json, or --from FILE",
    )


def create(
    spec: Spec = None,
    weights: Weights = None,
    file: FromFile = None,
    target: FileTarget = None,
    name: Name = None,
    task: Task = None,
    intervals: Intervals = None,
    types: Types = None,
    drop: Drop = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    is_importing: Imports = True,
    delay: Delay = 0,
    label_time: LabelTime = None,
    time: Time = None,
    limit: Limit = None,
    refused: Refused = None,
    is_waiting: Waits = True,
    is_sure: Yes = False,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Make a model from its spec; or from a file of rows: infer the spec, make the model, learn the rows.

    For example: driftline models create --from history.csv --target sold --name churn
    """
    if (spec is None) == (file is None):
        raise typer.BadParameter("give SPEC.json, or --from FILE with --target COLUMN")
    if file is not None:
        if not target:
            raise typer.BadParameter("--from needs --target COLUMN, the column that is the label")
        check_lateness(delay, label_time)
        choices = FileChoices(name, task, types or [], drop or [], decimal, encoding, delimiter, header, intervals)
        past = PastChoices(delay, label_time, time, limit, refused, is_waiting) if is_importing else None
        with refusing():
            create_from_file(file, target, choices, past, weights, url, key, is_sure=is_sure, as_json=as_json)
        return
    assert spec is not None
    refuse_options(
        {
            **{
                "--target": target,
                "--name": name,
                "--task": task,
                "--intervals": intervals,
                "--type": types,
                "--drop": drop,
            },
            **{"--decimal": decimal, "--encoding": encoding, "--delimiter": delimiter, "--header": header},
            **{"--delay": delay or None, "--label-time": label_time, "--time": time, "--limit": limit},
            **{"--refused": refused, "--no-import": not is_importing, "--no-wait": not is_waiting},
            **{"--yes": is_sure},
        },
        "--from FILE",
    )
    body = parse_json(read_text(spec if spec == "-" else f"@{spec}"))
    with connect(url, key) as client:
        print_fields(client.create_model(body, weights_as_sent(weights, body)), as_json)


def show(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """One model as it stands now."""
    with connect(url, key) as client:
        print_fields(client.model(model), as_json)


def delete(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Remove a model and all it has learned."""
    with connect(url, key) as client:
        print_fields(client.delete_model(model) or {"deleted": model}, as_json)
