"""Reports of jobs, as tables: what a retrain or a comparison has found, and what one would give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from driftline.cli.output import print_fields, print_table


def print_job(job: Mapping[str, Any], as_json: bool) -> None:
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


def print_dry_run(found: Mapping[str, Any], as_json: bool) -> None:
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
