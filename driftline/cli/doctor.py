"""``doctor``: checks everything and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from driftline.cli.common import AsJson, DataDir, load_settings
from driftline.cli.output import busy, print_json

if TYPE_CHECKING:
    from driftline.doctor import Finding


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check the store, the disk, the packages and every model, and say what to do; exit code 1 if there is an error."""
    import msgspec

    from driftline.doctor import examine

    with busy("looking at everything"):
        findings = examine(load_settings(data_dir=data_dir))
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        print_findings(findings)
    raise typer.Exit(any(finding.level == "error" for finding in findings))


def print_findings(findings: list[Finding]) -> None:
    """Print a line for each finding, its advice below it, and a summary."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{finding.level:<7}  {finding.check:<{width}}  {finding.message}")
        if finding.advice is not None:
            print(f"{'':<7}  {'':<{width}}  → {finding.advice}")
    print(f"\n{summary(findings)}")


def summary(findings: list[Finding]) -> str:
    """How many errors and warnings there are."""
    from driftline.support.formatting import count_text

    errors, warnings = (sum(finding.level == level for finding in findings) for level in ("error", "warning"))
    if not errors and not warnings:
        return f"All is well: {count_text(len(findings), 'finding')}, none of them a warning or an error."
    return f"{count_text(errors, 'error')} and {count_text(warnings, 'warning')} among {count_text(len(findings), 'finding')}."
