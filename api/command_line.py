"""The command line. Answers go to stdout, as text or with --json as one document; everything else goes to stderr."""

import logging
import signal
import sys
from types import FrameType
from typing import Any

import typer

from api.collector import spare_the_collector
from api.loaded import Loaded


class _Program(Loaded):
    modules = {  # noqa: RUF012
        "proof": "log_command",
        "receipts": "log_command",
        "consistency": "log_command",
        "verify": "log_command",
        "demo": "demo_command",
        "serve": "serve_command",
        "sample": "demo_command",
        "sample-scenes": "demo_command",
        "import": "import_command",
        "figures": "ledger_command",
        "balance": "ledger_command",
        "due": "ledger_command",
        "replay": "ledger_command",
        "rebuild": "ledger_command",
        "queues": "board_command",
        "late-entries": "board_command",
        "solvency": "board_command",
        "signals": "board_command",
        "recognition": "certificate_command",
        "places": "community_command",
        "disclose": "disclosure_command",
        "disclosure": "disclosure_command",
        "token": "token_command:token_app",
        "db": "database_command:database_app",
        "keys": "key_command:key_app",
        "policy": "policy_command:policy_app",
        "certificate": "certificate_command:certificate_app",
        "request": "request_command:request_app",
        "statement": "statement_command:statement_app",
        "notices": "notice_command:notice_app",
        "witness": "witness_command:witness_app",
        "audit": "audit_command:audit_app",
    }


app = typer.Typer(
    cls=_Program,
    name="timebank",
    help="时间银行：志愿服务时间的账本。 The time bank: a ledger of volunteer time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _timebank() -> None:  # without it nothing that is loaded later would make this a group
    pass


def whole_program() -> Any:
    """The program with all of its commands loaded."""
    program: Any = typer.main.get_command(app)
    program.load_all()
    return program


def main() -> None:
    """Run the command line; every error that a person can mend is one line on stderr, and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding must not stop a Chinese word
            stream.reconfigure(errors="replace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    spare_the_collector()
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        # Boxes are for people to look at: whoever reads a log or pipes an answer gets plain lines.
        app.rich_markup_mode = None
    # Being told to end is no reason to leave anything running: unwind as Ctrl-C does.
    signal.signal(signal.SIGTERM, _leave)
    try:
        app()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told or raised again
        from api.command_error import tell

        tell(error)


def _leave(signal_number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signal_number)
