"""``timebank audit``: what auditors take away with them, to check it without us."""

import typer

from api.loaded import Loaded


class _Audit(Loaded):
    modules = {  # noqa: RUF012
        "export": "export_command",
        "verify": "verification_command",
        "replay": "replay_command",
        "sample": "inspection_command",
        "report": "inspection_command",
    }


audit_app = typer.Typer(
    cls=_Audit,
    help="审计：带走核对所需的一切。 Audit: everything that it takes, to take away.",
    no_args_is_help=True,
)


@audit_app.callback()
def _audit() -> None:  # without it nothing that is loaded later would make this a group
    pass
