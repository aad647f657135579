"""The audit of the packages fails on what is known, and never passes what it could not look up for clean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.audit import AuditReport

CLEAN = {"name": "a", "version": "1.0", "vulns": []}
BROKEN = {"name": "b", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3.0)"}


def audited(*packages: Any) -> AuditReport:
    return AuditReport.of(json.dumps({"dependencies": packages, "fixes": []}), "")


@pytest.mark.parametrize(
    ("report", "is_clean", "is_clean_of_all", "told"),
    [
        (audited(CLEAN), True, True, "1 packages were looked up, and 0 vulnerabilities are known"),
        (audited(CLEAN, BROKEN), False, False, "VULNERABLE b 2.0: PYSEC-1, mended in 2.1"),
        (audited(CLEAN, UNKNOWN), True, False, "not looked up: c: Dependency not found on PyPI"),
        (audited(UNKNOWN), True, False, "NOTHING WAS AUDITED"),
        (audited(), True, False, "NOTHING WAS AUDITED"),
        (AuditReport.of("", "Traceback\nConnectionError: no such host"), True, False, "ConnectionError: no such host"),
    ],
)
def test_what_is_found_fails_and_what_could_not_be_looked_up_is_said(
    report: AuditReport, is_clean: bool, is_clean_of_all: bool, told: str
) -> None:
    assert (report.is_clean(False), report.is_clean(True)) == (is_clean, is_clean_of_all)
    assert told in "\n".join(report.lines())
