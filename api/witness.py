"""Witnesses over HTTP: where they hand in what they have signed of the log's checkpoints."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel
from starlette.responses import Response

from api.answers import answer
from api.identity import Anyone
from api.problems import Problem
from api.wiring import Service
from infrastructure.cosignature import CosignatureRefused, keep_cosignature

router = APIRouter(prefix="/v1/log/checkpoints", tags=["证据 evidence"])

READS_REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "keep_cosignature_of": ("not-found", "cosignature-refused", "length-required", "body-too-large"),
}
LINE_BYTES_MAX: Final = 1_000
LINE_EXAMPLE: Final = (
    "\u2014 witness.example/a001 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


class Cosigned(BaseModel):
    """The cosignature that is kept: the first that the witness gave of this checkpoint."""

    size: int
    witness: str
    cosigned_at: AwareDatetime


@router.put(
    "/{size}/cosignatures",
    response_model=Cosigned,
    summary="副签 Cosign",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"text/plain": {"schema": {"type": "string"}, "example": LINE_EXAMPLE}},
        }
    },
)
async def keep_cosignature_of(request: Request, _: Anyone, size: Annotated[int, Path(ge=1, le=2**62)]) -> Response:
    """Hand in the line by which a witness has cosigned a checkpoint (C2SP tlog-cosignature). It needs no token, for the
    signature says who it is from: taken are those of the witnesses alone that the operator has named, each once."""
    service: Service = request.app.state.service
    try:
        if int(request.headers.get("content-length", 0)) > LINE_BYTES_MAX:
            raise CosignatureRefused
        line = (await request.body()).decode()
        async with service.pool.connection() as connection:
            kept = await keep_cosignature(connection, service.bank.name, size, line)
    except (CosignatureRefused, UnicodeDecodeError):
        raise Problem("cosignature-refused") from None
    if kept is None:
        raise Problem("not-found")
    return answer({"size": size, "witness": kept.name, "cosigned_at": kept.at})
