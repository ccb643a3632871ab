"""Communities and grids: registered, renamed, moved, split and merged."""

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import pool_account
from domain.community import (
    CommunityDissolved,
    CommunityMerged,
    CommunityRegistered,
    CommunityRenamed,
    GridMoved,
    GridPath,
    GridRegistered,
    RegisterCommunity,
    RegisterGrid,
    register_community,
    register_grid,
)
from domain.community_life import (
    CompleteMerger,
    FollowPlace,
    MergeCommunities,
    MoveGrid,
    RenameCommunity,
    SplitCommunity,
    complete_merger,
    follow_place,
    merge_communities,
    move_grid,
    rename_community,
    split_community,
)
from domain.decision import Actor
from domain.ledger import LedgerOpened
from tests.controls import TIME
from tests.domain.time_bank.books import Model, Told, follows
from tests.domain.time_bank.leading import INDEX, STAFF, Leading, pick

GRIDS: tuple[GridPath, ...] = (("一格",), ("二格",), ("三格",), ("一格", "甲"))


class PlaceModel(Model):
    def __init__(self) -> None:
        super().__init__()
        self.communities: dict[str, str] = {}
        self.grids: dict[str, set[GridPath]] = {}
        self.mergers: dict[str, tuple[str, date]] = {}
        self.dissolved: dict[str, str] = {}
        self.moved_grids: set[tuple[str, GridPath]] = set()

    @follows(LedgerOpened)
    def _ledger_opened(self, _: LedgerOpened, __: Told) -> None:
        assert len(self.facts) == 1

    @follows(CommunityRegistered)
    def _community_registered(self, fact: CommunityRegistered, _: Told) -> None:
        assert fact.community not in self.communities
        self.communities[fact.community], self.grids[fact.community] = fact.name, set()

    @follows(GridRegistered)
    def _grid_registered(self, fact: GridRegistered, told: Told) -> None:
        assert fact.grid not in self.grids[fact.community]
        assert fact.grid[:-1] in {(), *self.grids[fact.community]}
        if isinstance(told.command, RegisterGrid):  # older books bring in places that are gone
            assert self.has_place(fact.community)
        self.grids[fact.community].add(fact.grid)

    @follows(CommunityRenamed)
    def _renamed(self, fact: CommunityRenamed, told: Told) -> None:
        assert self.has_place(fact.community)
        assert fact.effective_on >= told.today
        self.communities[fact.community] = fact.name

    @follows(CommunityMerged)
    def _merged(self, fact: CommunityMerged, told: Told) -> None:
        assert fact.community != fact.into
        assert self.has_place(fact.community)
        assert self.has_place(fact.into)
        assert not {fact.community, fact.into} & self.mergers.keys()
        assert fact.effective_on >= told.today
        self.mergers[fact.community] = fact.into, fact.effective_on

    @follows(CommunityDissolved)
    def _dissolved(self, fact: CommunityDissolved, told: Told) -> None:
        into, day = self.mergers[fact.community]
        assert fact.community not in self.dissolved
        assert fact.into == into
        assert day <= told.today
        self.dissolved[fact.community] = into

    @follows(GridMoved)
    def _grid_moved(self, fact: GridMoved, told: Told) -> None:
        assert self.has_place(fact.community, fact.grid)
        assert (fact.community, fact.grid) not in self.moved_grids
        assert (fact.into_community, fact.into_grid) not in self.moved_grids
        assert fact.effective_on >= told.today
        self.moved_grids.add((fact.community, fact.grid))

    def has_place(self, community: str, grid: GridPath = ()) -> bool:
        """Whether something can be registered there."""
        return (
            community in self.communities and community not in self.dissolved and grid in {(), *self.grids[community]}
        )

    def pool_of(self, community: str) -> str:
        """The pool that stands in place of a community's own by now."""
        while community in self.dissolved:
            community = self.dissolved[community]
        return pool_account(community)


class PlaceRules(Leading):
    @rule(community=INDEX, grid=st.sampled_from(GRIDS), fresh=st.booleans(), actor=STAFF)
    def register_place(self, community: int, grid: GridPath, fresh: bool, actor: Actor) -> None:
        name = self.community(community)
        if fresh and len(self.here.communities) < 6:
            name = f"社区{len(self.here.communities)}"
            self.here.send(register_community, RegisterCommunity(community=name), actor)
        self.here.send(register_grid, RegisterGrid(community=name, grid=grid), actor)

    @rule(
        pair=st.tuples(INDEX, INDEX),
        grids=st.tuples(INDEX, INDEX),
        how=st.sampled_from(["renamed", "split", "split", "grid moved", "merged", "merged"]),
        minutes=st.sampled_from([0, 0, 1, 60]),
        days=st.sampled_from([0, 0, 1, 2, -1]),
        actor=STAFF,
    )
    def place_changes(self, pair: Any, grids: Any, how: str, minutes: int, days: int, actor: Actor) -> None:
        community, other = (self.community(index) for index in pair)
        grid, other_grid = (
            pick(sorted(self.here.grids[name]) or [("无",)], index)
            for name, index in zip((community, other), grids, strict=True)
        )
        place: dict[str, Any] = {"community": community, "effective_on": self.now.date() + timedelta(days=days)}
        match how:
            case "renamed":
                name = f"新名{len(self.here.facts)}"
                self.here.send(rename_community, RenameCommunity(name=name, **place), actor)
            case "split":
                into = f"社区{len(self.here.communities)}"
                split = SplitCommunity(into=into, grids=grid[:1], minutes=minutes, **place)
                self.here.send(split_community, split, actor)
            case "grid moved":
                moved = MoveGrid(grid=grid, into_community=other, into_grid=other_grid, **place)
                self.here.send(move_grid, moved, actor)
            case _:
                self.here.send(merge_communities, MergeCommunities(into=other, **place), actor)

    @rule(community=INDEX, household=INDEX, actor=STAFF)
    def follow_one_place(self, community: int, household: int, actor: Actor) -> None:
        self.here.send(complete_merger, CompleteMerger(community=self.community(community)), actor)
        self.here.send(follow_place, FollowPlace(household=self.household(household)), actor)

    @precondition(lambda self: self.here.mergers or self.here.moved_grids)
    @rule()
    def follow_places(self) -> None:
        mergers = [(complete_merger, CompleteMerger(community=name), TIME) for name in self.here.mergers]
        moves = [(follow_place, FollowPlace(household=name), TIME) for name in self.here.households]
        self.here.together(*mergers, *moves)


def register_places(ledger: Any, names: tuple[str, ...], grids: tuple[GridPath, ...], actor: Actor) -> None:
    """As a district begins."""
    for name in names:
        ledger.send(register_community, RegisterCommunity(community=name), actor)
        for grid in grids:
            ledger.send(register_grid, RegisterGrid(community=name, grid=grid), actor)
