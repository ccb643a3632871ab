"""What all commands of the command line share: answers on stdout, everything else on stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import date
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domain.identifiers import Flaw, check_id, check_name, masked, normal_id, normal_name

Json = Annotated[bool, typer.Option("--json", help="以一个 JSON 文档作答。 Answer with one JSON document.")]

PLAIN_COLUMNS: Final = 100_000
"""Where nobody sees it as a page, a table's row is one line, for whatever searches or counts them."""


def fail(message: str) -> NoReturn:
    """End the command with one line on stderr, and exit status 1."""
    print(f"timebank: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(1)


def say(text: str) -> None:
    """A line for whoever is watching."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def answer(content: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """The command's answer: one JSON document, or what ``show`` prints for people."""
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())
    else:
        plain = not sys.stdout.isatty()
        width = PLAIN_COLUMNS if plain else None
        show(Console(highlight=False, markup=False, emoji=False, soft_wrap=plain, width=width))


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal; a line before the work otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal:
        say(what + " …")
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def hours_of(minutes: int) -> str:
    """Minutes as hours for people: ``1,234.5``."""
    return f"{minutes / 60:,.1f}"


def day(text: str | None) -> date | None:
    """A day as it is written on the command line; ends the command where it is none."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        fail(f"日期应写作 2026-10-31，不是“{text}”。 / A day is written 2026-10-31, not “{text}”.")


def person_of(text: str) -> str:
    """A person's number as the ledger has it; ends the command where it can be none."""
    return _fit("人员编号", "person's number", number := normal_id(text), check_id(number))


def household_of(text: str) -> str:
    """A household's number as the ledger has it; ends the command where it can be none."""
    return _fit("户编号", "household's number", number := normal_id(text), check_id(number))


def community_of(text: str) -> str:
    """A community's name as the ledger has it; ends the command where it can be none."""
    return _fit("社区名称", "community's name", name := normal_name(text), check_name(name))


def _fit(zh: str, en: str, text: str, flaw: Flaw | None) -> str:
    if flaw is not None:
        fail(f"{zh}“{masked(text)}”{flaw.zh}。 / The {en} {flaw}.")
    return text
