"""The house is in order: rooms import what they may, versions agree, and the project speaks of itself only."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


def tracked_files() -> list[Path]:
    """Every file of the tree, as git has it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("git and a clone are needed to know what belongs to the tree")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_rooms_import_only_what_they_may() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of somebody's machine", r"/(?:work|root|home|Users|opt/\w+)/\w"),
        ("a host of a package registry", r"pypi\.org|pythonhosted\.org|npmjs\.org|/simple/?\b"),
        ("work that was left for later", r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"),
        ("a merge that was left halfway", r"^(?:<<<<<<<|>>>>>>>) "),
    ],
)
def test_no_file_holds(what: str, pattern: str) -> None:
    found = []
    for file in tracked_files():
        if file == Path(__file__):
            continue
        text = file.read_bytes().decode(errors="replace")
        found += [f"{file.relative_to(ROOT)}: {line}" for line in text.splitlines() if re.search(pattern, line)]
    assert not found, what + "\n" + "\n".join(found)


def test_versions_agree() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["project"]["version"] == version("timebank")


def test_every_dependency_is_locked_with_its_hashes() -> None:
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], *PROJECT["build-system"]["requires"]]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in wanted}
    locked = re.findall(r"^([a-z0-9-]+)==\S+(.*?)(?=^\S|\Z)", LOCK, re.MULTILINE | re.DOTALL)
    assert names <= {name for name, _ in locked}
    assert all("--hash=sha256:" in rest for _, rest in locked)


def test_decisions_are_numbered_in_a_row() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").iterdir())
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_licence_is_the_one_that_is_named() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
