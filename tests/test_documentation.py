"""The documents are true: their commands run and print what is shown, and what they name exists.

In a ```console block a line that begins with ``$ `` is run, and the lines below it are what it prints, all of it; ``…``
stands for anything. A document's blocks run in order, in one shell, in a directory of their own. The guides start where
the first block of the README ends: with its small sample district.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from api.app import create_app
from api.command_line import whole_program
from domain.refusal import all_refusals
from infrastructure.settings import Settings
from tests.api.processes import free_port

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
ALL = [README, ROOT / "CHANGELOG.md", *GUIDES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
TIMEOUT_SECONDS = 300  # ends what hangs; no guide takes a tenth of it where nothing else runs

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the documents use curl")


class Step(NamedTuple):
    """One command, and what it prints."""

    command: str
    shown: str


def blocks(document: Path) -> list[list[Step]]:
    """The steps of each console block."""
    found = re.findall(r"^```console\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [list(steps(block)) for block in found]


def steps(block: str) -> Iterator[Step]:
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = text.splitlines(keepends=True)
        command = lines.pop(0)
        while not complete(command):
            command += lines.pop(0)
        yield Step(command.rstrip("\n"), "".join(lines))


def complete(command: str) -> bool:
    """Whether the shell would run it now; otherwise the command goes on in the next line."""
    try:
        shlex.split(command.removesuffix("\n"))
    except ValueError:
        return False
    return True


def as_pattern(shown: str) -> str:
    return "".join(
        "(?:.*\n)?" if line.strip() == "…" else ".*?".join(map(re.escape, line.split("…")))
        for line in shown.splitlines(keepends=True)
    )


def run(document: list[list[Step]], directory: Path) -> None:
    """Run the steps in one shell in the directory, and compare what they print with what is shown."""
    port = os.environ.get("PORT") or str(free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIMEBANK_", "PG"))}
    environment |= {"PORT": port, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ["trap 'jobs -p | xargs -r kill; wait' EXIT"]
    expected = [step for block in document for step in block]
    for step in expected:
        script.append(step.command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
        if step.command.endswith("&"):
            script.append(
                f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do kill -0 $! || break; sleep 0.05; done"
            )
        script.append("printf '\\n<step %s>\\n' $?")
    process = subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    printed = printed.replace(f"127.0.0.1:{port}", "127.0.0.1:8000")
    outcomes = re.findall(r"(.*?)\n?^<step (\d+)>\n", printed, re.MULTILINE | re.DOTALL)
    assert len(outcomes) == len(expected), printed
    for step, (output, status) in zip(expected, outcomes, strict=True):
        output = output.rstrip("\n") + "\n" if output.strip("\n") else ""
        assert status == "0", f"$ {step.command}\n{output}ended with status {status}"
        assert re.fullmatch(as_pattern(step.shown), output, re.DOTALL), (
            f"$ {step.command}\n{output}is not\n{step.shown}"
        )
    assert not list(directory.rglob("postmaster.pid")), "a database server was left running"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory after the first block of the README."""
    directory = tmp_path_factory.mktemp("sample")
    run(blocks(README)[:1], directory)
    return directory


def copy_of(sample: Path, directory: Path) -> None:
    # cp keeps the owner of the database's files, which is another user where root runs this.
    subprocess.run(["cp", "-a", f"{sample}/.", directory], check=True)


@needs_curl
def test_the_commands_of_the_readme_print_what_it_shows(sample: Path, tmp_path: Path) -> None:
    copy_of(sample, tmp_path)
    run(blocks(README)[1:], tmp_path)


@needs_curl
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_commands_of_a_guide_print_what_it_shows(guide: Path, sample: Path, tmp_path: Path) -> None:
    copy_of(sample, tmp_path)
    run(blocks(guide), tmp_path)


def test_shown_output_is_compared_line_by_line() -> None:
    shown = next(steps("$ printf 'a\\n\n'\n…\none …\n")).shown
    assert re.fullmatch(as_pattern(shown), "one 1\n", re.DOTALL)
    assert re.fullmatch(as_pattern(shown), "zero\none 1\n", re.DOTALL)
    assert not re.fullmatch(as_pattern(shown), "one\n", re.DOTALL)
    assert not re.fullmatch(as_pattern(""), "anything\n", re.DOTALL)


@pytest.mark.parametrize("document", ALL, ids=lambda path: path.stem)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", document.read_text()):
        if target and "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", ALL, ids=lambda path: path.stem)
def test_every_link_into_a_document_has_its_heading(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", document.read_text()):
        headings = re.findall(
            r"^#+ (.*)$", (document.parent / target if target else document).read_text(), re.MULTILINE
        )
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", ALL, ids=lambda path: path.stem)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:
    for line in re.findall(r"(?:`|\$ |\()timebank ((?:[^`\n)]|\\\n)*)", document.read_text()):
        command: Any = whole_program()
        for word in line.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"timebank {line}"
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", line)) <= options, f"timebank {line}"


@pytest.mark.parametrize("document", ALL, ids=lambda path: path.stem)
def test_every_target_of_make_that_is_named_exists(document: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", document.read_text(), re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("guide", [README, *GUIDES], ids=lambda path: path.stem)
def test_every_refusal_that_is_listed_exists(guide: Path) -> None:
    codes = {refusal.__new__(refusal).code for refusal in all_refusals()}
    for table in re.findall(r"^\| 代码 Code .*\n(?:\|.*\n)+", guide.read_text(), re.MULTILINE):
        rows = table.splitlines()[2:]
        assert {code for row in rows for code in re.findall("`([a-z-]+)`", row.split("|")[1])} <= codes


@pytest.mark.parametrize("guide", [README, *GUIDES], ids=lambda path: path.stem)
def test_every_route_that_is_named_exists(guide: Path) -> None:
    bank = SimpleNamespace(opened=SimpleNamespace(synthetic=False))
    paths = [re.sub(r"\{\w+\}", "[^/]+", path) for path in create_app(cast(Any, bank)).openapi()["paths"]]
    for route in re.findall(r"/v1/[^\s\"'`?>；)]+", guide.read_text()):
        known = any(re.fullmatch(path, route) for path in paths)
        assert known or route.startswith("/v1/problems/"), f"{guide.name} names {route}"


def test_the_settings_that_are_listed_are_those_that_exist() -> None:
    fields = {"PORT" if name == "port" else f"TIMEBANK_{name.upper()}" for name in Settings.model_fields}
    listed = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "operators.md").read_text(), re.MULTILINE))
    assert listed == fields
