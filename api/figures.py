"""The district's public figures, and what they mean."""

from datetime import date, datetime
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.answers import Day, MinPosition, answer
from api.identity import Anyone, Inspector
from api.wiring import FiguresAsked, Service
from domain.community import OutsideCommunity
from domain.figures import Basis, Dimension, Places
from domain.refusal import Refusal

router = APIRouter(prefix="/v1", tags=["公开数字 figures"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_figures": ("figures-busy",),
    "read_exact_figures": ("figures-busy", OutsideCommunity),
}


class Cell(BaseModel):
    key: str = Field(
        description="A community, a grid after its community, a service or a month. What counts fewer volunteers or "
        "households than `count_min` is put together: for the place that it belongs to, or under an empty key."
    )
    households_served: int
    service_minutes: int
    service_records: int


class Figures(BaseModel):
    """Counted from the facts. What each figure means is said beside it, under ``definitions``."""

    ledger: str
    synthetic: bool = Field(description="True where the data is made up and no real person is in it.")
    as_of: date
    basis: Basis
    position: int = Field(description="Counted from the journal's facts up to this position.")
    households_served: int
    service_minutes: int
    service_records: int
    by: Dimension | None
    places: Places
    count_min: int | None = Field(
        description="No cell counts fewer volunteers, nor fewer households where it counts any (the policy's "
        "`disclosure_count_min`); null where there are no cells, or exact ones."
    )
    cells: list[Cell]
    definitions: dict[str, str]
    notice: str | None


AsOf = Annotated[Day | None, Query(description="Up to and including this day; today if left out.")]
OnBasis = Annotated[
    Basis,
    Query(
        description="`service`: services up to that day, as the books stand now. `recorded`: the books as they "
        "stood at the end of that day."
    ),
]
By = Annotated[Dimension | None, Query(description="Also by community, grid, service or month.")]
Level = Annotated[int, Query(ge=1, le=3, description="For grids: 1 base, 2 meta, 3 building.")]


@router.get("/figures", response_model=Figures, summary="公开数字 Public figures")
async def read_figures(
    request: Request,
    _: Anyone,
    as_of: AsOf = None,
    basis: OnBasis = "service",
    by: By = None,
    level: Level = 1,
    min_position: MinPosition = None,
) -> Response:
    """Households served and hours of service, in total and by one dimension, as of any day. Public, so that nobody can
    be singled out by a cell: what is too small is put together."""
    service: Service = request.app.state.service
    today = datetime.now(service.bank.zone).date()
    return await _figures(service, FiguresAsked(as_of or today, basis, by, level, "then", today), min_position)


@router.get("/figures/exact", response_model=Figures, summary="精确数字 Exact figures")
async def read_exact_figures(
    request: Request,
    caller: Inspector,
    as_of: AsOf = None,
    basis: OnBasis = "service",
    by: By = None,
    level: Level = 1,
    places: Annotated[
        Places,
        Query(
            description="`then`: each service where it was recorded. `now`: where that place belongs on the day asked "
            "for, after communities and grids were renamed, split and merged."
        ),
    ] = "then",
    min_position: MinPosition = None,
) -> Response:
    """The same with every cell as it is, down to a single household, for auditors and the staff of the whole district:
    not to be published."""
    service: Service = request.app.state.service
    if caller.community is not None:
        raise OutsideCommunity(service.bank.opened.name, caller.community)
    today = datetime.now(service.bank.zone).date()
    return await _figures(service, FiguresAsked(as_of or today, basis, by, level, places, None), min_position)


async def _figures(service: Service, asked: FiguresAsked, min_position: int | None) -> Response:
    await service.fresh(min_position)
    return answer(msgspec.Raw(await service.figures(asked, min_position or 0)))
