"""``timebank audit``: what auditors take away with them, to check it without us."""

import typer

from api import inspection_command

audit_app = typer.Typer(
    help="审计：带走核对所需的一切。 Audit: everything that it takes, to take away.", no_args_is_help=True
)

audit_app.command("sample")(inspection_command.sample)
audit_app.command("report")(inspection_command.report)
