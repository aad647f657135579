"""Commands about jobs and control: ``retrain``, ``compare``, ``job``, ``versions``, ``rollback``, ``pause``, ``recipe``, …"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.common import AsJson, KeyText, ModelName, Url, connect, print_fields, print_table, read_json

if TYPE_CHECKING:
    from driftline.api.control import JobState

JsonOption = Annotated[str | None, typer.Option(metavar="JSON", help="JSON, @file, or - for standard input.")]
Race = Annotated[
    list[Path] | None,
    typer.Option("--race", metavar="FILE", help="JSON: a recipe to compare with others; repeated for each of them."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit code 1 unless it succeeded.")]
Timeout = Annotated[float, typer.Option("--timeout", help="How long to wait at most, in seconds.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retrain, compare, job, versions, rollback, promote, pause, resume, recipe, metrics):
        app.command()(command)


def retrain(
    model: ModelName,
    recipe: JsonOption = None,
    edits: JsonOption = None,
    race: Race = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the log.")] = None,
    reason: Annotated[str | None, typer.Option(help="Kept with the job.")] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would give and cost; begin nothing.")
    ] = False,
    is_waiting: Wait = False,
    timeout: Timeout = 3600.0,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Train again over the log, beside the model that goes on learning."""
    what = {
        "recipe": read_json(recipe),
        "edits": read_json(edits),
        "race": [read_json(f"@{file}") for file in race] if race else None,
        "epochs": epochs,
    }
    with connect(url, key) as client:
        if is_dry_run:
            _print_dry_run(client.retrain_dry_run(model, **what), as_json)
            return
        identifier = client.retrain(model, **what, reason=reason)
        if not is_waiting:
            print_fields({"job_id": identifier}, as_json)
            return
        _finish(identifier, client.wait_for_job(identifier, timeout), as_json)


def compare(
    model: ModelName,
    first: Annotated[int, typer.Argument(help="A kept version.")],
    second: Annotated[int, typer.Argument(help="Another one; differences are its less the first's.")],
    is_waiting: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")] = True,
    timeout: Timeout = 3600.0,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Two kept versions side by side, on the same examples: scores, speed, size, and what is beyond chance."""
    with connect(url, key) as client:
        identifier = client.compare(model, first, second)
        if not is_waiting:
            print_fields({"job_id": identifier}, as_json)
            return
        _finish(identifier, client.wait_for_job(identifier, timeout), as_json)


def job(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    is_waiting: Wait = False,
    is_cancelled: Annotated[bool, typer.Option("--cancel", help="End it.")] = False,
    timeout: Timeout = 3600.0,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """A job's state: of a retrain, or of a comparison."""
    with connect(url, key) as client:
        if is_cancelled:
            client.cancel_job(identifier)
        if is_waiting:
            _finish(identifier, client.wait_for_job(identifier, timeout), as_json)
        else:
            _print(client.job(identifier), as_json)


def _finish(identifier: str, job: JobState, as_json: bool) -> None:
    _print({"id": identifier, **job}, as_json)
    if job["state"] != "succeeded":
        raise typer.Exit(1)


def _print(job: Mapping[str, Any], as_json: bool) -> None:
    """Print a job: the metrics of its report side by side, before and after or by version, then the trials of its race."""
    report = job.get("report") or {}
    if as_json:
        print_fields(job, as_json)
        return
    columns, more = _taken_out(report)
    race = report.pop("race", [])
    print_fields({name: value for name, value in job.items() if value not in (None, {})}, as_json)
    if columns:
        _print_metrics(columns, more)
    _print_race(race)


def _taken_out(report: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Removes the metrics from a report, and returns them by column, with the differences of each metric."""
    if "before" in report:
        return {name: report.pop(name) for name in ("before", "after")}, {}
    versions, differences = report.pop("versions", []), report.pop("differences", {})
    return {str(found.pop("version")): found for found in versions}, dict(_differences(differences))


def _print_metrics(found: Mapping[str, Mapping[str, Any]], more: Mapping[str, Mapping[str, Any]]) -> None:
    """Print metrics side by side, a line for each number, with ``more`` about it."""
    columns = {name: dict(_metrics_of(metrics)) for name, metrics in found.items()}
    rows = [
        {"measure": path, **{name: column.get(path) for name, column in columns.items()}, **more.get(path, {})}
        for path in dict.fromkeys(path for column in columns.values() for path in column)
    ]
    print_table(rows, dict.fromkeys(name for row in rows for name in row), as_json=False, empty="")


def _print_race(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each trial of a race, if there was one."""
    if rows:
        columns = dict.fromkeys(["recipe", "edits", *(name for row in rows for name in row)])
        print_table(rows, columns, as_json=False, empty="")


def _print_dry_run(found: Mapping[str, Any], as_json: bool) -> None:
    """Print what a retrain would give: the totals, the layers after it, and each trial of a race."""
    if as_json:
        print_fields(found, as_json)
        return
    before, after = found["before"], found["after"]
    names = [name for name in after if name != "layers"]
    rows = [{"": name, "before": before[name], "after": after[name]} for name in names]
    print_table(rows, ("", "before", "after"), as_json, empty="")
    print_table(after["layers"], ("name", "type", "shape", "parameters", "trained"), as_json, empty="no layers")
    _print_race(found.get("race", []))
    print_fields({"keeps_function": found["keeps_function"], **found["training"]}, as_json)


def _metrics_of(value: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a report by their path; of a class its recall."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield from _metrics_of(part, f"{where}{name} ")
        elif name == "classes":
            yield from ((f"{where}recall of {found['class']!r}", found["recall"]) for found in part)
        else:
            yield f"{where}{name}", part


def _differences(value: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The columns of each difference, by the path of its metric; the standard error is shown as ±."""
    for name, part in value.items():
        if name == "classes":
            yield from ((f"{where}recall of {found['class']!r}", _titled(found["recall"])) for found in part)
        elif "difference" in part:
            yield f"{where}{name}", _titled(part)
        else:
            yield from _differences(part, f"{where}{name} ")


def _titled(difference: Mapping[str, Any]) -> dict[str, Any]:
    titles = {"standard_error": "±", "beyond_chance": "beyond chance"}
    return {titles.get(name, name): value for name, value in difference.items()}


def versions(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """The history of a model."""
    with connect(url, key) as client:
        rows = client.versions(model)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    print_table(rows, columns, as_json, empty="no versions")


def rollback(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="The version whose weights come back.")],
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Publish an older version's weights as the next version."""
    with connect(url, key) as client:
        print_fields(client.rollback(model, version), as_json)


def promote(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Make what has been learned the live version, whatever the gate says."""
    with connect(url, key) as client:
        print_fields(client.promote(model), as_json)


def pause(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Stop learning; feedback waits."""
    with connect(url, key) as client:
        print_fields(client.pause(model), as_json)


def resume(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Go on learning."""
    with connect(url, key) as client:
        print_fields(client.resume(model), as_json)


def recipe(
    model: ModelName,
    change: Annotated[str, typer.Argument(metavar="JSON", help="The fields to change: JSON, @file, or -.")],
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Change how a model learns."""
    body = read_json(change)
    with connect(url, key) as client:
        print_fields(client.change_recipe(model, body), as_json)


def metrics(model: ModelName, url: Url = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """How well it predicts, how far learning is behind, alarms."""
    with connect(url, key) as client:
        print_fields(client.metrics(model), as_json)
