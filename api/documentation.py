"""The interactive documentation: Swagger UI from our own files, so that it works where there is no internet."""

import gzip
from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api import static
from api.problems import Problem

# Packed as they are sent: an eighth of the size, and every browser unpacks them.
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


def add_to(app: FastAPI) -> None:
    """Serve the documentation under ``/docs``."""

    async def read_page(_: Request) -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="data:,",
            # Otherwise a badge on the page sends the document to a validator on the internet.
            swagger_ui_parameters={"validatorUrl": None},
        )

    async def go_to_page(request: Request) -> Response:
        if request.scope["path"] != "/":  # a route takes a line end after it for its own
            raise Problem("not-found")
        return RedirectResponse("/docs")

    # Whoever opens the bare address looks for what there is.
    app.add_route("/", go_to_page, include_in_schema=False)
    app.add_route("/docs", read_page, include_in_schema=False)
    app.add_route("/docs/{name}", _read_file, include_in_schema=False)


async def _read_file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise Problem("not-found")
    content = files(static).joinpath("swagger-ui", f"{name}.gz").read_bytes()
    headers = {"Cache-Control": "public, max-age=86400", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        content = gzip.decompress(content)
    return Response(content, headers=headers, media_type=_FILES[name])
