"""Communities and grids: registered, renamed, moved, split and merged."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import pool_account
from domain.community import (
    CommunityDissolved,
    CommunityMerged,
    CommunityParted,
    CommunityRegistered,
    CommunityRenamed,
    CommunitySplit,
    GridMoved,
    GridPath,
    GridRegistered,
    GridRenamed,
    RegisterCommunity,
    RegisterGrid,
    register_community,
    register_grid,
)
from domain.community_life import (
    CompleteMerger,
    CompleteSplit,
    FollowPlace,
    GridName,
    MergeCommunities,
    MoveGrid,
    RenameCommunity,
    RenameGrids,
    SplitCommunity,
    complete_merger,
    complete_split,
    follow_place,
    merge_communities,
    move_grid,
    rename_community,
    rename_grids,
    split_community,
)
from domain.decision import Actor
from domain.fact import Fact, Movement
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
        self.moved_grids: dict[tuple[str, GridPath], date] = {}
        self.grid_names: dict[tuple[str, GridPath], list[tuple[date, str]]] = {}
        """Names by their days, in the order in which they were given."""
        self.splits: dict[str, CommunitySplit] = {}
        """By the community that is new."""
        self.parted: set[str] = set()

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
        self.moved_grids[fact.community, fact.grid] = fact.effective_on

    @follows(GridRenamed)
    def _grid_renamed(self, fact: GridRenamed, told: Told) -> None:
        assert self.has_place(fact.community, fact.grid)
        assert fact.effective_on >= told.today
        self.grid_names.setdefault((fact.community, fact.grid), []).append((fact.effective_on, fact.name))

    @follows(CommunitySplit)
    def _community_split(self, fact: CommunitySplit, told: Told) -> None:
        assert self.has_place(fact.community)
        assert fact.into not in self.splits
        assert fact.effective_on >= told.today
        self.splits[fact.into] = fact

    @follows(CommunityParted)
    def _community_parted(self, fact: CommunityParted, told: Told) -> None:
        assert fact.into not in self.parted
        assert self.splits[fact.into].community == fact.community
        assert self.splits[fact.into].effective_on <= told.today
        self.parted.add(fact.into)

    def expected_holds(self) -> dict[str, int]:
        """A new community's share is held until it is its own."""
        waiting = {into: split.minutes for into, split in self.splits.items() if into not in self.parted}
        return super().expected_holds() | {"split:" + into: minutes for into, minutes in waiting.items() if minutes}

    def floor(self, fact: Movement, told: Told) -> int | None:
        # A share was set aside long ago; what else is held of the pool since, such as for a dispute, is no obstacle.
        return None if isinstance(told.command, CompleteSplit) else super().floor(fact, told)

    def after_command(self, facts: tuple[Fact, ...], before: Counter[str], told: Told) -> None:
        """Grids beside each other never bear one name, even where two have swapped theirs."""
        super().after_command(facts, before, told)
        for renamed in [fact for fact in facts if isinstance(fact, GridRenamed)]:
            day, grids = renamed.effective_on, self.grids[renamed.community]
            names = [
                self.grid_name(renamed.community, grid, day)
                for grid in grids
                if grid[:-1] == renamed.grid[:-1]
                and (grid == renamed.grid or not self.is_elsewhere(renamed.community, grid, day))
            ]
            assert names.count(renamed.name) == 1

    def grid_name(self, community: str, grid: GridPath, day: date) -> str:
        names = [named for named in self.grid_names.get((community, grid), []) if named[0] <= day]
        return sorted(names, key=lambda named: named[0])[-1][1] if names else grid[-1]

    def is_elsewhere(self, community: str, grid: GridPath, day: date) -> bool:
        """Whether a grid is part of another place by a day."""
        days = [self.moved_grids.get((community, grid[:depth])) for depth in range(1, len(grid) + 1)]
        days.append(self.mergers[community][1] if community in self.mergers else None)
        return any(moved is not None and moved <= day for moved in days)

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
        how=st.sampled_from(["renamed", "split", "split", "grid moved", "grids renamed", "merged", "merged"]),
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
            case "grids renamed":  # the first two beside each other swap their names
                base = [one for one in sorted(self.here.grids[community]) if len(one) == 1][:2]
                swapped = [self.here.grid_name(community, one, place["effective_on"]) for one in reversed(base)]
                names = tuple(GridName(grid=one, name=name) for one, name in zip(base, swapped, strict=True))
                self.here.send(
                    rename_grids, RenameGrids(names=names or (GridName(grid=grid, name="新"),), **place), actor
                )
            case "grid moved":
                moved = MoveGrid(grid=grid, into_community=other, into_grid=other_grid, **place)
                self.here.send(move_grid, moved, actor)
            case _:
                self.here.send(merge_communities, MergeCommunities(into=other, **place), actor)

    @rule(community=INDEX, household=INDEX, actor=STAFF)
    def follow_one_place(self, community: int, household: int, actor: Actor) -> None:
        self.here.send(complete_merger, CompleteMerger(community=self.community(community)), actor)
        self.here.send(follow_place, FollowPlace(household=self.household(household)), actor)

    @precondition(lambda self: self.here.mergers or self.here.moved_grids or self.here.splits)
    @rule()
    def follow_places(self) -> None:
        mergers = [(complete_merger, CompleteMerger(community=name), TIME) for name in self.here.mergers]
        splits = [
            (complete_split, CompleteSplit(community=split.community, into=into), TIME)
            for into, split in self.here.splits.items()
        ]
        moves = [(follow_place, FollowPlace(household=name), TIME) for name in self.here.households]
        self.here.together(*mergers, *splits, *moves)


def register_places(ledger: Any, names: tuple[str, ...], grids: tuple[GridPath, ...], actor: Actor) -> None:
    """As a district begins."""
    for name in names:
        ledger.send(register_community, RegisterCommunity(community=name), actor)
        for grid in grids:
            ledger.send(register_grid, RegisterGrid(community=name, grid=grid), actor)
