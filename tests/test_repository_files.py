"""The files about the repository itself: continuous integration, citation, forms, image, hooks."""

import re
import stat
from datetime import date
from pathlib import Path

import yaml

import ssd

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def read_yaml(name: str) -> dict:
    content = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(content, dict)
    return content


def test_the_workflow_runs_what_the_repository_runs() -> None:
    for job in read_yaml(".github/workflows/ci.yml")["jobs"].values():
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands
        for command in commands:
            script = ROOT / command
            assert script.parent == ROOT / ".ci"
            assert script.stat().st_mode & stat.S_IXUSR, f"{command} cannot be executed"


def test_actions_are_pinned_by_commit() -> None:
    for job in read_yaml(".github/workflows/ci.yml")["jobs"].values():
        for step in job["steps"]:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))


def test_the_oldest_python_is_tried() -> None:
    oldest = re.search(r'requires-python = ">=([\d.]+)"', PYPROJECT)
    assert oldest is not None
    assert oldest[1] in read_yaml(".github/workflows/ci.yml")["jobs"]["newest"]["strategy"]["matrix"]["python"]


def test_the_citation_is_of_this_version() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == ssd.__version__
    assert (
        f"## {ssd.__version__} - {date.fromisoformat(citation['date-released'])}" in (ROOT / "CHANGELOG.md").read_text()
    )
    assert citation["license"] == re.search(r'^license = "(.+)"', PYPROJECT, re.MULTILINE)[1]  # type: ignore[index]


def test_the_forms_have_what_github_asks_for() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        if path.name == "config.yml":
            continue
        form = read_yaml(str(path.relative_to(ROOT)))
        assert form["name"]
        assert form["description"]
        identifiers = [field["id"] for field in form["body"]]
        assert len(identifiers) == len(set(identifiers)) > 0


def test_the_hooks_are_those_of_make_lint() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    tools = {Path(hook["entry"].split()[0]).name for hook in repository["hooks"]}
    assert tools == {"ruff", "mypy"}


def test_the_image_copies_what_lies_here() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in ignored
    extras = re.search(r"pip install '\.\[(.+)\]'", (ROOT / "Dockerfile").read_text())
    assert extras is not None
    assert all(re.search(rf"^{extra} = \[", PYPROJECT, re.MULTILINE) for extra in extras[1].split(","))
