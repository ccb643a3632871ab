"""docs/facts.md: every type of fact, what decides it and what is folded from it, read off the code itself.

    python -m tests.facts_page

writes the page; a test holds it to the code. Who decides a fact is found in the source: the decisions (functions of a
command and a context) that make one, themselves or through the functions of the domain that they call.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from domain.decision import Fold, Reading
from domain.fact import Fact, Movement
from domain.facts import CONCEPTS, FACTS

PAGE: Final = Path(__file__).parents[1] / "docs" / "facts.md"
SOURCES: Final = Path(__file__).parents[1] / "domain"


def folds() -> list[Fold[Any]]:
    """Every fold that a module of the domain defines."""
    found: dict[int, Fold[Any]] = {}
    for module in CONCEPTS:
        for value in vars(module).values():
            fold = value.fold if isinstance(value, Reading) else value
            if isinstance(fold, Fold):
                found[id(fold)] = fold
    return list(found.values())


def deciders() -> dict[str, list[str]]:
    """The decisions that make each fact, by the fact's class name."""
    facts = {fact.__name__ for fact in FACTS.values()}
    makes: dict[str, set[str]] = {}
    decisions: list[str] = []
    for source in sorted(SOURCES.glob("*.py")):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                inside = list(ast.walk(node))
                made = {
                    call.func.id for call in inside if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
                }
                named = {name.id for name in inside if isinstance(name, ast.Name)} - facts
                makes.setdefault(node.name, set()).update(made | named)
                if [argument.arg for argument in node.args.args][1:2] in (["context"], ["_"]):
                    decisions.append(node.name)
    found: dict[str, list[str]] = {name: [] for name in facts}
    for decision in decisions:
        reached, waiting = set[str](), [decision]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += makes.get(name, ())
        for name in reached & facts:
            found[name].append(decision)
    return found


def rows() -> Iterator[tuple[str, ...]]:
    """Type, what it says, its fields, its tags' prefixes, who decides it, what is folded from it."""
    decided = deciders()
    for name, fact in FACTS.items():
        folded = [fold.prefix for fold in folds() if fact in fold.fact_types]
        fields = [field.name for field in msgspec.structs.fields(fact)]
        yield (
            f"`{name}`",
            first_paragraph(fact),
            ", ".join(f"`{field}`" for field in fields),
            ", ".join(f"`{decision}`" for decision in decided[fact.__name__]),
            ", ".join(f"`{prefix}:`" for prefix in dict.fromkeys(folded)),
        )


def first_paragraph(fact: type[Fact]) -> str:
    text = fact.__dict__.get("__doc__") or ""
    if text.startswith(fact.__name__ + "("):
        text = ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


def page() -> str:
    """The whole page."""
    movements = sum(issubclass(fact, Movement) for fact in FACTS.values())
    lines = [
        "# 事实一览 · Every fact",
        "",
        "账本里的每一种事实：它说明什么、由哪个决定产生、归到哪些状态。本页由程序生成，并由测试核对。",
        "",
        "Every type of fact in the journal: what it says, which decisions make it, and which states it is folded into",
        "(by the prefix of its tags). The page is made from the code by `python -m tests.facts_page`, and a test holds",
        f"it to the code. Of {len(FACTS)} types, {movements} move minutes and name `source`, `target` and `minutes`.",
        "",
        "| type | says | fields | decided by | folded into |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
