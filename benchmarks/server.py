"""The service as it is, with two routes more that do nothing: what the framework alone can do on this machine."""

import contextlib
import json
import socket
import sys

import uvicorn
from starlette.responses import Response

from api.answers import answer
from api.app import create_app
from api.collector import spare_the_collector
from api.identity import Anyone
from api.protocol import configured
from api.wiring import timebank
from infrastructure.settings import read_settings


async def nothing(_: Anyone) -> Response:
    return answer({})


def main() -> None:
    spare_the_collector()
    sys.setswitchinterval(0.001)
    with timebank(read_settings()) as bank, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)  # whoever reads the line below may connect at once
        app = create_app(bank)
        app.add_api_route("/nothing", nothing, methods=["GET", "POST"])
        config = configured(app, log_level="warning")
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
