"""Commands that are imported when they are asked for, each with no more than it uses: to import them all takes longer
than most of them run."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from api.collector import spare_the_collector


class Loaded(TyperGroup):
    """A group of commands. ``modules`` names the module of each: among its ``commands`` there, or, where a name comes
    after a colon, itself the group of that name."""

    modules: ClassVar[Mapping[str, str]]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - it is the same in any context
        return [*self.modules]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in self.modules:
            self.commands[cmd_name] = self._load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def load_all(self) -> None:
        """For whoever goes through all ``commands``."""
        for name in self.modules:
            command = self.get_command(None, name)
            if isinstance(command, Loaded):
                command.load_all()

    def _load(self, name: str) -> Any:
        module, _, group = self.modules[name].partition(":")
        whole = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        found = getattr(import_module(f"api.{module}"), group or "commands")
        whole.add_typer(found, name=name if group else None)
        spare_the_collector()
        return typer.main.get_group(whole).commands[name]
