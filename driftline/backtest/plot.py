"""The plot of a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftline.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Checks that a plot can be written to ``path``, before the backtest starts.

    Raises:
        InvalidInput: its suffix is not that of a picture.
        ConfigurationError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidInput(f"{path}: a picture's name ends with {', '.join(FORMATS)}", value=str(path))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "drawing needs matplotlib; install it: pip install 'driftline[plot]'", code="no_matplotlib"
        ) from None


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Plots the report of :func:`driftline.backtest.replay.backtest`: each contender by windows, and each drift alarm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    size = report["windows"]["rows"]
    metric = next(name for name in report["windows"] if name not in ("rows", "at"))
    places = report["windows"]["at"]
    for name, values in report["windows"][metric].items():
        is_learner = name in report["recipes"]
        look = {"linewidth": 1.8} if is_learner else {"linewidth": 1, "linestyle": ":"}
        (line,) = axes.plot(places, values, label=name.replace("_", " "), **look)
        if is_learner:
            _mark(axes, report["alarms"][name], line.get_color())
    axes.set(xlabel="row", ylabel=f"{metric} of {size:,} rows", title=_title(report))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}", value=str(path)) from None


def _mark(axes: Axes, alarms: list[int], color: Any) -> None:
    """Draws a short line at the bottom for each alarm, in its learner's colour."""
    axes.vlines(alarms, 0, 0.04, colors=color, linewidth=1, transform=axes.get_xaxis_transform())


def _title(report: Mapping[str, Any]) -> str:
    stream = report["stream"]
    delay = report["delay"]
    labels = "labels when they were known" if delay is None else f"labels {delay:,} rows later"
    return f"{stream['rows']:,} rows, {labels}; strokes at the foot: drift alarms"
