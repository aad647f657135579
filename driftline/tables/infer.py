"""A spec from a file: what each column is, what the task is, and all that may be wrong about it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from driftline.errors import InvalidInput
from driftline.spec import ModelSpec
from driftline.spec import parse as parse_spec
from driftline.spec.parts.fields import FIELDS, IgnoredField
from driftline.spec.task import TaskName
from driftline.support.formatting import count_text
from driftline.tables.blocks import RefusedRow
from driftline.tables.cells import Cell, is_missing
from driftline.tables.doubt import Doubt
from driftline.tables.fields import reader_of
from driftline.tables.kinds import ColumnDecision, decide
from driftline.tables.labels import label_reader
from driftline.tables.leaks import find_leaks
from driftline.tables.numbers import DecimalMark, decide_decimals
from driftline.tables.profile import KEPT_VALUES, ColumnProfile, Sample
from driftline.tables.reading import ReadingOptions, TableFile, open_table
from driftline.tables.source import STANDARD_INPUT
from driftline.tables.target import Target, decide_targets, spec_part
from driftline.tables.target_columns import TargetColumns, names_of

ALL_KEPT_VALUES: Final = 1_000_000
SAMPLED_CELLS: Final = 1_000_000
SAMPLED_ROWS: Final = 20_000
KEPT_REFUSALS: Final = 100
EXAMPLES: Final = 3


@dataclass(frozen=True)
class InferenceOptions:
    """What the user decides; all else the file does.

    ``types`` gives columns a kind: ``number``, ``boolean``, ``category``, ``text``, ``ignore``, ``time``, or ``time:FORMAT``
    with a format as ``strptime`` has it. Columns in ``drop`` are ignored. ``intervals`` are the levels of a regression's.
    """

    task: TaskName | None = None
    name: str | None = None
    decimal: DecimalMark | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    drop: Collection[str] = ()
    reading: ReadingOptions | None = None
    intervals: list[float] | None = None


@dataclass(frozen=True)
class ColumnReport:
    """What a column is: ``field`` as the spec has it (None: the target), and ``missing`` as a share of the rows."""

    name: str
    kind: str
    field: str | dict[str, Any] | None
    missing: float
    examples: list[str]
    doubts: list[Doubt]


@dataclass(frozen=True)
class Inference:
    """A spec as JSON has it, what it follows from, and what may be wrong.

    ``doubts`` are of the file and the target; those of a column stand in its report. ``decimals`` and ``reading`` are how the
    file was read, so that it can be read in the same way again. ``refused`` are the first rows that could not be read at all,
    of ``refused_rows``.
    """

    spec: dict[str, Any]
    columns: list[ColumnReport]
    doubts: list[Doubt]
    rows: int
    refused_rows: int
    refused: list[RefusedRow]
    decimals: dict[str, DecimalMark]
    reading: ReadingOptions


def infer(path: Path | str, target: TargetColumns, options: InferenceOptions | None = None) -> Inference:
    """Reads a file once, in blocks, and says what a model of its ``target`` is: several are the outputs of a regression.

    Raises:
        InvalidInput: the file cannot be read, there is no such column, or no field is left to learn from.
    """
    options = options or InferenceOptions()
    forced = {column: _field(column, kind) for column, kind in options.types.items()}
    forced |= dict.fromkeys(options.drop, "ignore")
    targets = names_of(target)
    for name in targets:
        if name in forced:
            message = f"{name!r} is the target: --task says whether it is one of some classes or a number"
            raise InvalidInput(message, field="type", value=name)
    with open_table(path, options.reading) as table:
        for name in targets:
            table.check(name, "target")
        if not table.is_typed:
            for column in forced:
                table.check(column, "type")
        survey = _Survey(table)
        survey.read()
        for column in forced:
            table.check(column, "type")
        return survey.conclude(str(path), targets, forced, options)


def _field(column: str, kind: str) -> str | dict[str, Any]:
    """The field that the user gives a column."""
    name, _, layout = kind.partition(":")
    known = sorted(set(FIELDS.parts) - {"tensor"})
    if name not in known or (layout and name != "time"):
        message = f"{kind!r} is no kind of column {column!r}; there are {', '.join(known)}, and time:FORMAT"
        raise InvalidInput(message, field="type", value=kind)
    if layout and "%" not in layout:
        message = f"{layout!r} is no format of dates for {column!r}, which is such as %d/%m/%Y"
        raise InvalidInput(message, field="type", value=kind)
    return {"type": "time", "format": layout} if layout else name


class _Survey:
    """One reading of a table: a profile of each column, and a sample of rows."""

    def __init__(self, table: TableFile) -> None:
        self.table = table
        width = max(1, len(table.columns))
        self.limit = max(1_000, min(KEPT_VALUES, ALL_KEPT_VALUES // width))
        self.profiles: dict[str, ColumnProfile] = {}
        self.sample = Sample(max(1_000, min(SAMPLED_ROWS, SAMPLED_CELLS // width)))
        self.examples: dict[str, list[str]] = {}
        self.rows = 0
        self.refused_rows = 0
        self.refused: list[RefusedRow] = []

    def read(self) -> None:
        for block in self.table.blocks():
            for name, cells in block.columns.items():
                if name not in self.profiles:
                    self.profiles[name] = ColumnProfile(name, self.limit)
                    self.profiles[name].skip(self.rows)
                    self.examples[name] = []
                self.profiles[name].add(cells, block.numbers)
                self._note_examples(self.examples[name], cells)
            self.sample.add(block.numbers, block.columns)
            self.rows += len(block)
            self.refused_rows += len(block.refused)
            self.refused += block.refused[: KEPT_REFUSALS - len(self.refused)]
        if not self.rows:
            first = f": {self.refused[0]}" if self.refused else ""
            raise InvalidInput(f"{self.table.name} has no row that can be read{first}", value=self.table.name)

    @staticmethod
    def _note_examples(examples: list[str], cells: list[Cell]) -> None:
        if len(examples) < EXAMPLES:
            for cell in cells[:1000]:
                text = " ".join(str(cell).split())
                if not is_missing(cell) and text not in examples:
                    examples.append(text)
                if len(examples) == EXAMPLES:
                    return

    def conclude(
        self, path: str, targets: Collection[str], forced: Mapping[str, str | dict[str, Any]], options: InferenceOptions
    ) -> Inference:
        decimals = self._decimals(options.decimal)
        profiles = {name: self.profiles[name] for name in targets}
        label = decide_targets(profiles, decimals, options.task, options.intervals)
        decisions = {
            name: decide(profile, decimals[name], forced.get(name), lambda name=name: self._texts(name))  # type: ignore[misc]
            for name, profile in self.profiles.items()
            if name not in targets
        }
        spec = self._spec(options.name or name_of(path), decisions, label)
        leaks = [leak for name in targets for leak in self._leaks(spec, name, decisions, decimals)]
        reports = [
            ColumnReport(
                name,
                decisions[name].kind if name in decisions else "target",
                decisions[name].field if name in decisions else None,
                profile.missing / profile.rows,
                self.examples[name],
                [*decisions[name].doubts, *(each for each in leaks if each.column == name)]
                if name in decisions
                else [],
            )
            for name, profile in self.profiles.items()
        ]
        doubts = [*self.table.doubts, *self._refusals(), *label.doubts]
        dumped = {"name": spec.name, **spec_part(label), "inputs": {"fields": _fields(decisions)}}
        return Inference(
            *(dumped, reports, doubts, self.rows, self.refused_rows, self.refused, decimals, self.table.options)
        )

    def _decimals(self, given: DecimalMark | None) -> dict[str, DecimalMark]:
        if given is not None:
            return dict.fromkeys(self.profiles, given)
        return decide_decimals({name: profile.decimals for name, profile in self.profiles.items()})

    def _texts(self, name: str) -> list[str]:
        return [
            cell.strip() for cell in self.sample.columns[name][:2000] if isinstance(cell, str) and not is_missing(cell)
        ]

    def _spec(self, name: str, decisions: Mapping[str, ColumnDecision], label: Target) -> ModelSpec:
        if all(decision.kind == "ignore" for decision in decisions.values()):
            reasons = [f"{name}: {each.doubts[0].text}" for name, each in decisions.items() if each.doubts]
            message = "no column but the target is left to learn from" + (
                f"; {'; '.join(reasons[:20])}" if reasons else ""
            )
            raise InvalidInput(message, field="type", value=list(decisions)[:20])
        return parse_spec(ModelSpec, {"name": name, **spec_part(label), "inputs": {"fields": _fields(decisions)}})

    def _refusals(self) -> list[Doubt]:
        if not self.refused_rows:
            return []
        listed = "; ".join(map(str, self.refused[:3])) + ("; …" if self.refused_rows > 3 else "")
        return [Doubt(f"{count_text(self.refused_rows, 'row')} cannot be read: {listed}")]

    def _leaks(
        self, spec: ModelSpec, target: str, decisions: Mapping[str, ColumnDecision], decimals: Mapping[str, DecimalMark]
    ) -> list[Doubt]:
        columns = {
            name: reader_of(decision.parsed, decimals[name]).many(self.sample.columns[name])[0]
            for name, decision in decisions.items()
            if decision.kind in {"number", "boolean", "category", "time"}
            and not isinstance(decision.parsed, IgnoredField)
        }
        labels, _ = label_reader(spec, decimals[target], self.table.is_typed).many(self.sample.columns[target])
        # A list is none of the keys of a dictionary, as the labels that are counted are.
        told = [repr(label) if isinstance(label, list) else label for label in labels]
        return find_leaks(columns, told, not spec.kind.has_classes)


def _fields(decisions: Mapping[str, ColumnDecision]) -> dict[str, str | dict[str, Any]]:
    return {name: decision.field for name, decision in decisions.items()}


def name_of(path: str) -> str:
    """A model's name from that of a file.

    >>> name_of("data/Churn History (2024).csv.gz"), name_of("-")
    ('churn-history-2024', 'model')
    """
    stem = "" if path == STANDARD_INPUT else Path(path).name.lstrip(".").partition(".")[0]
    return re.sub(r"[^a-z0-9_]+", "-", stem.casefold()).strip("-_")[:64].strip("-_") or "model"
