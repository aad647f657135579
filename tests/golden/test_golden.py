"""Learning gives what it gave: every answer, weight and state of the recorded scenarios, bit for bit.

Digests hold for the recorded versions of torch, numpy, numba and the C library, on CPUs like the recorded one. Elsewhere only
the accuracy or the absolute error of each scenario is compared, with a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.golden import coverage, driver, runs, scenarios

OTHER_CPUS = {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OPENBLAS_CORETYPE": "Haswell"}


@pytest.fixture(scope="module")
def runner() -> Iterator[runs.Runner]:
    with runs.Runner() as runner:
        yield runner


@pytest.mark.slow
@pytest.mark.parametrize("group", scenarios.GROUPS)
def test_a_scenario_gives_what_it_gave(group: str, runner: runs.Runner) -> None:
    recorded = runs.read()["scenarios"]
    chosen = scenarios.of_group(group)
    found, told, is_same_build = runner.run(chosen), [], runs.is_same_build()
    for name, scenario in chosen.items():
        if name not in recorded:
            told.append(f"{name}: not recorded")
        elif is_same_build or scenario["is_stable"]:
            told += [f"{name}: {line}" for line in runs.differences(recorded[name], found[name], is_same_build)]
    assert not told, "see `python -m tests.golden check`\n" + "\n".join(told)


def test_going_on_from_files_changes_nothing() -> None:
    recorded = runs.read()["scenarios"]
    again = [name for name, scenario in scenarios.every().items() if scenario["restarts"]]
    assert len(again) > 20
    assert [name for name in again if recorded[name].get(runs.FROM_FILES) != []] == []


def test_every_part_has_a_scenario() -> None:
    offered = coverage.offered(driver.spec_schema())
    assert {"strategy", "edits", "loss", "optimizer", "schedule", "memory", "detector", "averaging"} <= offered.keys()
    assert {"mode", "on_alarm", "sanitize", "layers"} <= offered.keys()
    names, keys = coverage.chosen([[each["spec"], each["script"]] for each in scenarios.every().values()])
    missing = {field: sorted(parts - names[field]) for field, parts in offered.items() if parts - names[field]}
    assert missing == {}, "each needs a scenario in tests/golden/scenarios.py"
    assert coverage.fields(driver.spec_schema()) - keys == set()


def test_what_is_recorded_is_what_there_is() -> None:
    recorded = runs.read()["scenarios"]
    assert list(recorded) == list(scenarios.every())


def test_whatever_an_admin_does_is_followed_by_labels() -> None:
    ends = {
        name: each["labels"] - max([0, *(act["at"] for act in each["script"])])
        for name, each in scenarios.every().items()
    }
    assert {name: left for name, left in ends.items() if left < 50} == {}


def test_scenarios_differ_from_each_other() -> None:
    """A scenario in which all is as in another one shows nothing."""
    names: dict[str, list[str]] = {}
    for name, result in runs.read()["scenarios"].items():
        names.setdefault(str(result), []).append(name)
    assert [equal for equal in names.values() if len(equal) > 1] == []


def test_digests_do_not_depend_on_what_libraries_think_of_the_cpu(runner: runs.Runner) -> None:
    chosen = ["strategies: experts", "edits: own module: insert", "jobs: rate found"]
    assert runs.run(chosen, runs.ENVIRONMENT | OTHER_CPUS) == runner.run(chosen)
