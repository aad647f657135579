"""Looks for known vulnerabilities of the pinned packages, and says what could not be looked up.

python -m tests.audit [--required]

Run with a Python that has pip-audit. It ends with 1 where a vulnerability is known; with ``--required``, or where the variable
``DRIFTLINE_AUDIT_REQUIRED`` is set, also where anything could not be looked up: pip-audit itself passes over it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

COMMAND = ("-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "-r")


@dataclass
class AuditReport:
    """What is known of the packages: how many were ``looked_up``, the vulnerabilities that were ``found``, a line each, and the
    ``unknown`` ones, with the reasons."""

    looked_up: int = 0
    found: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, output: str, errors: str) -> AuditReport:
        """What pip-audit has written; nothing where it ended before it could."""
        report = cls()
        try:
            packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
        except (ValueError, KeyError):
            last = errors.strip().rpartition("\n")[2] or "it wrote nothing"
            return cls(unknown=[f"all packages: pip-audit has failed: {last}"])
        for package in packages:
            if "skip_reason" in package:
                report.unknown.append(f"{package['name']}: {package['skip_reason']}")
                continue
            report.looked_up += 1
            for each in package["vulns"]:
                mended = ", ".join(each["fix_versions"]) or "no version yet"
                report.found.append(f"{package['name']} {package['version']}: {each['id']}, mended in {mended}")
        return report

    def lines(self) -> list[str]:
        """What is to be told."""
        shown = self.unknown if len(self.unknown) <= 5 else [*self.unknown[:4], f"and {len(self.unknown) - 4} more"]
        told = [f"VULNERABLE {line}" for line in self.found]
        told += [f"not looked up: {line}" for line in shown]
        if not self.looked_up:
            return [
                *told,
                "NOTHING WAS AUDITED: the service that knows of vulnerabilities did not answer for any package",
            ]
        return [*told, f"{self.looked_up} packages were looked up, and {len(self.found)} vulnerabilities are known"]

    def is_clean(self, is_required: bool) -> bool:
        """Whether nothing was found; where it is required, of anything."""
        return not self.found and not (is_required and (self.unknown or not self.looked_up))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--required", action="store_true", default=bool(os.environ.get("DRIFTLINE_AUDIT_REQUIRED")))
    options = parser.parse_args()
    done = subprocess.run([sys.executable, *COMMAND, "constraints.txt"], capture_output=True, text=True, check=False)
    report = AuditReport.of(done.stdout, done.stderr)
    print(*report.lines(), sep="\n")
    return 0 if report.is_clean(options.required) else 1


if __name__ == "__main__":
    sys.exit(main())
