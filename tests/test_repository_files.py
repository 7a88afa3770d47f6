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


def test_workflow() -> None:
    """It runs the scripts of .ci, pins actions by commit, and has the oldest Python."""
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    for job in jobs.values():
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands
        for script in (ROOT / command for command in commands):
            assert script.parent == ROOT / ".ci"
            assert script.stat().st_mode & stat.S_IXUSR, f"{script} cannot be executed"
        for action in (step["uses"] for step in job["steps"] if "uses" in step):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)
    (oldest,) = re.findall(r'requires-python = ">=([\d.]+)"', PYPROJECT)
    assert oldest in jobs["newest"]["strategy"]["matrix"]["python"]


def test_citation_is_of_this_version() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == ssd.__version__
    released = date.fromisoformat(citation["date-released"])
    assert f"## {ssd.__version__} - {released}" in (ROOT / "CHANGELOG.md").read_text()
    assert f'\nlicense = "{citation["license"]}"' in PYPROJECT


def test_forms_have_what_github_requires() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        if path.name != "config.yml":
            form = read_yaml(str(path.relative_to(ROOT)))
            assert form["name"]
            assert form["description"]
            identifiers = [field["id"] for field in form["body"]]
            assert len(identifiers) == len(set(identifiers)) > 0


def test_hooks_are_those_of_make_lint() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert {Path(hook["entry"].split()[0]).name for hook in repository["hooks"]} == {"ruff", "mypy"}


def test_image_copies_files_that_exist() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored
    (extras,) = re.findall(r"pip install '\.\[(.+)\]'", dockerfile)
    assert all(re.search(rf"^{extra} = \[", PYPROJECT, re.MULTILINE) for extra in extras.split(","))
