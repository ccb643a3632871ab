"""HTTP as the server speaks it, with problem documents where not even a request could be read."""

from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.problems import Problem


def configured(app: FastAPI, **more: Any) -> uvicorn.Config:
    """How the service is served, wherever it is.

    What a proxy says of the caller's address is not asked for: nothing depends on it, so nothing can be had by lying.
    """
    return uvicorn.Config(app, loop="uvloop", http=ProblemProtocol, access_log=False, proxy_headers=False, **more)


class ProblemProtocol(HttpToolsProtocol):
    """uvicorn's own protocol; what it can't parse is answered with a problem document instead of plain text."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text, which tells nobody what to do
        """An unknown method, a header with control characters, a length that is none: no route ever hears of it."""
        response = Problem("bad-request").response("/")  # which address was meant can't be known
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
