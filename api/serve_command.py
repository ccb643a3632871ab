"""``timebank serve``: the API and its documentation."""

import contextlib
import socket
import sys
from typing import Final

import typer
import uvicorn

from api.app import create_app
from api.import_command import catch_up
from api.protocol import configured
from api.terminal import fail, say
from api.wiring import Timebank, timebank
from infrastructure.settings import BadSetting, Settings, read_settings

SHUTDOWN_SECONDS: Final = 10

commands = typer.Typer()


@commands.command()
def serve() -> None:
    """启动服务（API 与说明页），直到 Ctrl-C。 Serve the API and its documentation until Ctrl-C."""
    settings = read_settings()
    require_free_port(settings)
    with timebank(settings) as bank:
        # Before the server, which would tell of whatever stops it with a traceback.
        catch_up(bank)
        _serve(bank)


def _serve(bank: Timebank) -> None:
    settings = bank.settings
    # Two threads share this process: the writer must not wait 5 ms for its turn each time it has heard from the disk.
    sys.setswitchinterval(0.001)
    config = configured(
        create_app(bank),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    address = f"http://{_place(settings)}"
    say(f"服务已启动，按 Ctrl-C 停止： / Serving; stop with Ctrl-C:\n  {address}/docs\n  {address}/v1/figures")
    # uvicorn stops in good order on a signal, and then raises it once more for whoever started it.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
    say("服务已停止。 / Stopped.")


def require_free_port(settings: Settings) -> None:
    place = _place(settings)
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (socket.gaierror, UnicodeError) as error:
        raise BadSetting("TIMEBANK_HOST", settings.host) from error
    except OSError as error:
        fail(
            f"无法使用端口 {place}（{error.strerror}），请设置其他端口，如 PORT=8001。 / "
            f"The port {place} can't be used ({error.strerror}); choose another, such as PORT=8001."
        )


def _place(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"
