"""``predict``, ``feedback``, ``receipt`` and ``rejected``: what applications do, by hand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from driftline.cli.common import ModelName, Server, parse_json, read_json, read_text
from driftline.cli.files import LabelColumn, Output, WithInputs, feedback_file, is_file, predict_file, shortened
from driftline.cli.following import Watch, follow_receipt, show_rows
from driftline.cli.output import busy, print_fields, print_json, print_table
from driftline.cli.parameters import expanded
from driftline.cli.table_options import ReadingChoices, Refused, refuse_options

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
        "with the columns prediction_id or key, and label, or with those of the model and --target.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (predict, feedback, receipt, rejected):
        app.command()(expanded(command))


def predict(
    model: ModelName,
    inputs: Inputs,
    reading: ReadingChoices,
    server: Server,
    version: Annotated[int | None, typer.Option(help="Ask a kept version.", show_default="the live one")] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--row-key", help="Your own name of a row, to which its label can refer; once for each row, in order."
        ),
    ] = None,
    output: Output = None,
    with_inputs: WithInputs = False,
    refused: Refused = None,
) -> None:
    """Answer rows: of JSON, or of a file, row by row.

    For example: driftline predict churn new.csv -o answers.csv
    """
    if is_file(inputs):
        from driftline.files.answers import QuestionFile

        refuse_options({"--row-key": keys or None}, "rows as JSON; the answers to a FILE have ids of their own")

        file = QuestionFile(inputs, reading.reading(), reading.decimal, version, with_inputs)
        with server.patient(model) as client:
            predict_file(client, model, file, output, refused, as_json=server.as_json)
        return
    others = {"--output": output, "--with-inputs": with_inputs, "--refused": refused}
    refuse_options({**others, **reading.given()}, f"a FILE of rows, which {shortened(inputs)} is not")
    with server.client() as client:
        answer = client.predict(model, read_json(inputs), version, keys=keys or None)
    if server.as_json:
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
    reading: ReadingChoices,
    server: Server,
    target: LabelColumn = None,
    refused: Refused = None,
) -> None:
    """Hand in labels: of JSON, or of a file.

    For example: driftline feedback weather '{"prediction_id": "…", "label": 1}', or driftline feedback churn labels.csv
    """
    if is_file(items):
        from driftline.files.label_file import LabelFile

        file = LabelFile(items, target, reading.reading(), reading.decimal)
        with server.client() as client:
            feedback_file(client, model, file, refused, as_json=server.as_json)
        return
    others = {"--target": target, "--refused": refused}
    refuse_options({**others, **reading.given()}, f"a FILE of rows, which {shortened(items)} is not")
    parsed = parse_items(read_text(items))
    statuses: list[Any] = []
    durability = ""
    with server.client() as client:
        for start in range(0, len(parsed), MAX_BATCH):
            answer = client.feedback(model, parsed[start : start + MAX_BATCH], raise_errors=False)
            statuses += answer["items"]
            durability = answer.get("durability", durability)
    errors = [status for status in statuses if status["status"] == "error"]
    accepted = len(statuses) - len(errors)
    if server.as_json:
        print_json({"accepted": accepted, "items": statuses, "durability": durability})
    else:
        rows = [{**status, "error": status.get("error", {}).get("message")} for status in statuses]
        print_table(rows, ("id", "status", "error"), False, empty="no items")
        print(f"{accepted} accepted" + (f", durability {durability}" if durability else ""))
    if errors:
        raise typer.Exit(1)


def parse_items(text: str) -> list[Any]:
    """Items from a JSON list, an object, or a line of JSON for each."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and not text.lstrip().startswith("["):
        try:
            return [parse_json(line) for line in lines]
        except typer.BadParameter:
            pass  # one object over several lines
    value = parse_json(text)
    return value if isinstance(value, list) else [value]


def receipt(
    model: ModelName,
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="The item's id, or with --by-key your own name of it.")
    ],
    server: Server,
    is_key: Annotated[bool, typer.Option("--by-key", help="ID is the key under which the row was predicted.")] = False,
    is_waiting: Annotated[bool, typer.Option("--wait", help="Wait until it is served.")] = False,
    is_followed: Annotated[bool, typer.Option("--follow", help="Show each state until it is served.")] = False,
) -> None:
    """The state of a labelled item."""
    identifier = f"key:{identifier}" if is_key else identifier
    with server.client() as client:
        if is_followed:
            state = follow_receipt(client, model, identifier, server.as_json)
            raise typer.Exit(0 if state == "served" else 1)
        if is_waiting:
            with busy(f"waiting until {identifier} is served"):
                found = client.wait_served(model, identifier)
        else:
            found = client.receipt(model, identifier)
        print_fields(found, server.as_json)


def rejected(
    model: ModelName,
    server: Server,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most that are listed.")] = 20,
    is_watched: Watch = False,
) -> None:
    """The newest labels that were not learned, and why: they did not fit, or the network failed on them."""
    with server.client() as client:
        show_rows(
            lambda: [dict(label) for label in client.rejected(model, limit)],
            ("n", "id", "state", "time", "reason"),
            as_json=server.as_json,
            empty="every label was learned",
            is_watched=is_watched,
        )
