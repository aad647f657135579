"""What shadows our packages, what is missing, what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline.doctor import packages
from driftline.processes.plan import ROOT
from driftline.settings import Settings


@pytest.mark.parametrize("name", ["app", "worker", "driftline"])
def test_a_folder_of_our_name_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert [finding.level for finding in packages.check_names(tmp_path, [])] == ["ok"], (
        "nothing can be imported from it"
    )
    (tmp_path / name / "__init__.py").touch()
    for folder, search in ((tmp_path, [str(ROOT)]), (ROOT, [str(tmp_path), str(ROOT)])):
        (found,) = packages.check_names(folder, search)
        assert found.level == "warning" and str(tmp_path / name) in found.message and found.advice


def test_what_python_finds_after_ours_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    assert [finding.level for finding in packages.check_names(ROOT, [str(ROOT), str(tmp_path)])] == ["ok"]


def test_packages_that_do_not_fit_or_are_missing_are_told() -> None:
    found = packages.check_requirements(
        [
            "redis>=999",
            "no-such-package>=1",
            "msgspec>=0.19",
            "never>=1; python_version < '3'",
            "pytest-x>=1; extra == 'dev'",
        ]
    )
    assert [finding.level for finding in found] == ["error", "error"]
    assert "redis is of version" in found[0].message and "'redis>=999'" in str(found[0].advice)
    assert "no-such-package is missing" in found[1].message
    assert [finding.level for finding in packages.check_requirements(["msgspec>=0.19"])] == ["ok"]
    assert [finding.level for finding in packages.check_requirements(None)] == ["warning"]


def test_a_platform_without_a_binary_is_told_unless_a_store_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.check_binary(Settings()).level == "ok"
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    found = packages.check_binary(Settings())
    assert found.level == "error" and "DRIFTLINE_REDIS_URL" in found.message
    assert packages.check_binary(Settings(redis_url="redis://a")).level == "ok"
