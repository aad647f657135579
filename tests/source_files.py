"""What stands in Driftline's own files, each read once."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(path): path
    for folder in ("driftline", "app", "worker")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
"""Each by the name of its module."""


@dataclass
class SourceFile:
    """What a file says, also where only a type checker looks, and inside functions."""

    imports: list[str] = field(default_factory=list)
    """Every module; of those relative to the file, the whole name."""
    absolute: list[str] = field(default_factory=list)
    """Those that are not relative, as they are written."""
    classes: dict[str, int] = field(default_factory=dict)
    """How many lines each has."""
    names: list[str] = field(default_factory=list)
    """The public classes at the top."""
    codes: set[tuple[str, str]] = field(default_factory=set)
    """Names that are called with a ``code``, and the code."""


@cache
def read(path: Path) -> SourceFile:
    found, tree = SourceFile(), ast.parse(path.read_text())
    found.names = [each.name for each in tree.body if isinstance(each, ast.ClassDef) and not each.name.startswith("_")]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                found.imports += [name.name for name in names]
                found.absolute += [name.name for name in names]
            case ast.ImportFrom(module, names, level):
                found.imports += _imported(path, module, [name.name for name in names], level or 0)
                found.absolute += [module] if module and not level else []
            case ast.ClassDef(name):
                found.classes[name] = (node.end_lineno or 0) - node.lineno
            case ast.Call(ast.Name(name), _, keywords):
                given = (word.value for word in keywords if word.arg == "code")
                found.codes |= {(name, str(value.value)) for value in given if isinstance(value, ast.Constant)}
    return found


def _imported(path: Path, module: str | None, names: list[str], level: int) -> list[str]:
    package = path.relative_to(ROOT).parent.parts
    above = package[: len(package) + 1 - level] if level else ()
    whole = ".".join([*above, *([module] if module else [])])
    return [f"{whole}.{name}" if f"{whole}.{name}" in FILES else whole for name in names]
