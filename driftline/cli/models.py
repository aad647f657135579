"""``models``: create, list, show and delete models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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

Spec = Annotated[str, typer.Argument(metavar="SPEC.json", help="The spec's file; - reads it from standard input.")]
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
    print_table(rows, columns, as_json, empty="there is no model yet; make one: driftline models create SPEC.json")


def create(spec: Spec, weights: Weights = None, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Make a model from its spec."""
    body = parse_json(read_text(spec if spec == "-" else f"@{spec}"))
    with connect(url, key) as client:
        print_fields(client.create_model(body, _as_driftline_has_it(weights, body)), as_json)


def _as_driftline_has_it(weights: Path | None, body: Any) -> Path | bytes | None:
    """The weights to be sent: a safetensors file as it is, a Keras file converted."""
    if weights is None or weights.suffix != ".npz":
        return weights
    from driftline.networks import keras
    from driftline.spec import ModelSpec, parse

    return keras.weights_of(weights, parse(ModelSpec, body))


def show(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """One model as it stands now."""
    with connect(url, key) as client:
        print_fields(client.model(model), as_json)


def delete(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Remove a model and all it has learned."""
    with connect(url, key) as client:
        print_fields(client.delete_model(model) or {"deleted": model}, as_json)
