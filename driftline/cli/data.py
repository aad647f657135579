"""``predict``, ``feedback`` and ``receipt``: what applications do, by hand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from driftline.cli.common import (
    AsJson,
    KeyText,
    ModelName,
    Url,
    connect,
    parse_json,
    patient,
    print_fields,
    print_json,
    print_table,
    read_json,
    read_text,
)
from driftline.cli.files import (
    LabelColumn,
    Output,
    WithInputs,
    feedback_file,
    is_file,
    predict_file,
    refuse_options,
    shortened,
)
from driftline.cli.history import Refused
from driftline.cli.table_options import Decimal, Delimiter, Encoding, Header, reading_options

MAX_BATCH = 500

Inputs = Annotated[
    str,
    typer.Argument(
        metavar="INPUTS|FILE",
        help="Rows as JSON, @file, or - for standard input; or a FILE of rows: CSV and its kin, Parquet, NDJSON.",
    ),
]
Items = Annotated[
    str,
    typer.Argument(
        metavar="ITEMS|FILE",
        help="Labelled items: a JSON object, a list or a line for each; @file, or - for standard input; or a FILE of rows "
        "with the columns prediction_id and label, or with those of the model and --target.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (predict, feedback, receipt):
        app.command()(command)


def predict(
    model: ModelName,
    inputs: Inputs,
    version: Annotated[int | None, typer.Option(help="Ask a kept version.", show_default="the live one")] = None,
    output: Output = None,
    with_inputs: WithInputs = False,
    decimal: Decimal = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    refused: Refused = None,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Answer rows: of JSON, or of a file, row by row.

    For example: driftline predict churn new.csv -o answers.csv
    """
    if is_file(inputs):
        from driftline.files.answers import QuestionFile

        file = QuestionFile(inputs, reading_options(encoding, delimiter, header), decimal, version, with_inputs)
        with patient(url, key, model) as client:
            predict_file(client, model, file, output, refused, as_json=as_json)
        return
    refuse_options(
        {
            **{"--output": output, "--with-inputs": with_inputs, "--decimal": decimal, "--encoding": encoding},
            **{"--delimiter": delimiter, "--header": header, "--refused": refused},
        },
        f"a FILE of rows, which {shortened(inputs)} is not",
    )
    with connect(url, key) as client:
        answer = client.predict(model, read_json(inputs), version)
    if as_json:
        print_json(answer)
        return
    rows = [{**row, "probability": max(row.get("probabilities") or [0.0])} for row in answer["predictions"]]
    shown = next((name for name in ("value", "values", "labels") if rows and name in rows[0]), None)
    columns = ("id", shown) if shown is not None else ("id", "label", "probability")
    print_table(rows, columns, False, empty="no rows")
    print(f"by version {answer['version']} of {model}")


def feedback(
    model: ModelName,
    items: Items,
    target: LabelColumn = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    refused: Refused = None,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Hand in labels: of JSON, or of a file.

    For example: driftline feedback weather '{"prediction_id": "…", "label": 1}', or driftline feedback churn labels.csv
    """
    if is_file(items):
        from driftline.files.label_file import LabelFile

        file = LabelFile(items, target, reading_options(encoding, delimiter, header), decimal)
        with connect(url, key) as client:
            feedback_file(client, model, file, refused, as_json=as_json)
        return
    refuse_options(
        {
            **{"--target": target, "--decimal": decimal, "--encoding": encoding, "--delimiter": delimiter},
            **{"--header": header, "--refused": refused},
        },
        f"a FILE of rows, which {shortened(items)} is not",
    )
    parsed = parse_items(read_text(items))
    statuses: list[Any] = []
    durability = ""
    with connect(url, key) as client:
        for start in range(0, len(parsed), MAX_BATCH):
            answer = client.feedback(model, parsed[start : start + MAX_BATCH], raise_errors=False)
            statuses += answer["items"]
            durability = answer.get("durability", durability)
    errors = [status for status in statuses if status["status"] == "error"]
    accepted = len(statuses) - len(errors)
    if as_json:
        print_json({"accepted": accepted, "items": statuses, "durability": durability})
    else:
        rows = [{**status, "error": status.get("error", {}).get("message")} for status in statuses]
        print_table(rows, ("id", "status", "error"), False, empty="no items")
        print(f"{accepted} accepted" + (f", durability {durability}" if durability else ""))
    if errors:
        raise typer.Exit(1)


def parse_items(text: str) -> list[Any]:
    """Items from a JSON list, an object, or a line of JSON for each."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and not text.lstrip().startswith("["):
        try:
            return [parse_json(line) for line in lines]
        except typer.BadParameter:
            pass  # one object over several lines
    value = parse_json(text)
    return value if isinstance(value, list) else [value]


def receipt(
    model: ModelName,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The item's id.")],
    is_waiting: Annotated[bool, typer.Option("--wait", help="Wait until it is served.")] = False,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """The state of a labelled item."""
    with connect(url, key) as client:
        print_fields(
            client.wait_served(model, identifier) if is_waiting else client.receipt(model, identifier), as_json
        )
