"""What the forge and contributors read: the files parse, and each command and page that they name is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import driftline
from tests.ports import missing

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ".github/workflows/ci.yml"
HOOKS = ".pre-commit-config.yaml"
FORMS = (".github/ISSUE_TEMPLATE/bug_report.yml", ".github/ISSUE_TEMPLATE/feature_request.yml")
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "README.md", ".github/pull_request_template.md")
FIELDS = {"textarea", "input", "dropdown", "checkboxes"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def texts(value: Any) -> Iterator[str]:
    """Every text in a YAML file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def steps() -> list[dict[str, Any]]:
    return [step for job in read(WORKFLOW)["jobs"].values() for step in job["steps"]]


def hooks() -> list[dict[str, Any]]:
    return [hook for repository in read(HOOKS)["repos"] for hook in repository["hooks"]]


COMMANDS = [
    *(step["run"] for step in steps() if "run" in step),
    *(hook["entry"] for hook in hooks()),
    *(
        code
        for page in (*PAGES, *FORMS)
        for code in re.findall(r"`(make [^`]+|\.ci/run|\.venv/bin/[^`]+)`", (ROOT / page).read_text())
    ),
    *re.findall(r"^```sh\n(make .*)\n```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE),
]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_a_command_that_is_named_is_there(command: str) -> None:
    words = command.split()
    where = next(place for place, word in enumerate(words) if word == "make" or word.startswith("."))
    if words[where] == "make":
        check_make(words[where + 1])
    elif words[where].startswith(".venv/bin/"):
        assert (Path(sys.executable).parent / Path(words[where]).name).exists()
    else:
        assert os.access(ROOT / words[where], os.X_OK)


def check_make(target: str) -> None:
    if shutil.which("make") is None:
        missing("make")
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_are_those_that_matter() -> None:
    assert any(".ci/run" in step.get("run", "") for step in steps())
    assert {"make check", ".venv/bin/ruff format"} <= {hook["entry"] for hook in hooks()}


def test_the_workflow_runs_on_every_supported_python_and_keeps_what_pip_fetched() -> None:
    (job,) = read(WORKFLOW)["jobs"].values()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={job['strategy']['matrix']['python'][0]}"
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    (setup,) = (step["with"] for step in steps() if step.get("uses", "").startswith("actions/setup-python@"))
    assert setup["cache"] == "pip"
    assert all((ROOT / name).is_file() for name in setup["cache-dependency-path"].split())


def test_hooks_fetch_nothing() -> None:
    assert {repository["repo"] for repository in read(HOOKS)["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks()} == {"system"}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_one_that_the_forge_can_show(name: str) -> None:
    form = read(name)
    assert form.keys() >= {"name", "description", "body"}
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert asked and {field["type"] for field in asked} <= FIELDS
    assert all(field["attributes"]["label"] for field in asked)
    identifiers = [field["id"] for field in asked]
    assert len(set(identifiers)) == len(identifiers)
    assert any(field.get("validations", {}).get("required") for field in asked)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_is_linked_is_there(page: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_files_that_are_named_in_forms_and_hooks_are_there() -> None:
    named = {
        word
        for name in (*FORMS, WORKFLOW, HOOKS)
        for text in texts(read(name))
        for word in re.findall(r"\b[A-Z]+\.md\b", text)
    }
    assert named >= {"SECURITY.md", "CONTRIBUTING.md"}
    assert all((ROOT / name).is_file() for name in named)


def test_the_readme_leads_to_those_who_want_to_help() -> None:
    links = re.findall(r"\]\(([A-Z]+\.md)\)", (ROOT / "README.md").read_text())
    assert {"CONTRIBUTING.md", "SECURITY.md"} <= set(links)


def test_the_version_has_its_section_in_the_changelog_and_is_supported() -> None:
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0] == driftline.__version__
    minor = driftline.__version__.rpartition(".")[0]
    assert f"| {minor} | yes |" in (ROOT / "SECURITY.md").read_text()


def test_each_container_of_compose_is_read_only_without_capabilities_and_no_user_of_it_is_root() -> None:
    services = read("docker-compose.yml")["services"]
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"] and not service.get("privileged"), name
    ours = {name for name, service in services.items() if service["image"] == "driftline"}
    assert ours == {"init", "app", "worker"}
    assert all(service.get("user", "driftline") != "root" for service in services.values())
    assert services["valkey"]["user"] == "valkey" and "ports" not in services["valkey"]
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["driftline"], "the image's own"
