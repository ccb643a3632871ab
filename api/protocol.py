"""HTTP as the server speaks it, with problem documents where not even a request could be read."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.problems import Problem


class ProblemProtocol(HttpToolsProtocol):
    """uvicorn's own protocol; what it can't parse is answered with a problem document instead of plain text."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text, which tells nobody what to do
        """An unknown method, a header with control characters, a length that is none: no route ever hears of it."""
        response = Problem("bad-request").response("/")  # which address was meant can't be known
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
