"""Which tags a ledger's facts may bear, in memory: most commands bring tags that nobody has used, and need not ask."""

import threading
from array import array
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

WORDS: Final = 1 << 22
"""32 MiB: beside two million tags one unused one in 20,000 seems to be borne, beside eight million one in 1,200."""
PATTERNS: Final = 1 << 16
TAGS_AT_ONCE: Final = 256


class TagFilter:
    """A Bloom filter over the tags of a ledger's facts up to ``head``: what it doesn't know, none of them bears.

    Each tag sets four bits of one word. Text is hashed with a key of the process's own, so nobody can choose tags that
    seem to be borne. It may be used from several threads.
    """

    def __init__(self) -> None:
        self.head = 0
        self.head_heard_of = 0
        """Facts up to here exist. Those after ``head`` aren't known yet, or not all of them."""
        self._words = array("Q", [0]) * WORDS
        # Looked up, since making them takes longer than all the rest.
        self._patterns = [_bits(number * 0x9E37_79B9_7F4A_7C15) for number in range(PATTERNS)]
        self._adding = threading.Lock()

    def add(self, after: int, last: int, tags: Iterable[str]) -> None:
        """Take in the tags of all facts after a position, up to another: anything between them that it leaves out
        would be missed for ever. They may come in any order; ``head`` moves over what follows on it."""
        words, patterns, waiting = self._words, self._patterns, iter(tags)
        while some := list(islice(waiting, TAGS_AT_ONCE)):
            with self._adding:  # a word is read and written in two steps; not for long, since commands wait for it
                for tag in some:
                    number = hash(tag)
                    words[number % WORDS] |= patterns[(number >> 32) % PATTERNS]
        with self._adding:
            if after <= self.head < last:
                self.head = last
        self.hear_of(last)

    def hear_of(self, head: int) -> None:
        with self._adding:
            self.head_heard_of = max(self.head_heard_of, head)

    def borne(self, tags: Collection[str], head: int) -> Collection[str]:
        """Of some tags, those that facts up to a position may bear."""
        if head > self.head:
            return tags
        words, patterns, found = self._words, self._patterns, []
        for tag in tags:
            number = hash(tag)
            bits = patterns[(number >> 32) % PATTERNS]
            if words[number % WORDS] & bits == bits:
                found.append(tag)
        return found


def _bits(number: int) -> int:
    """A word with four bits, some of them perhaps the same, that depend on bits 32 to 55 of a number."""
    return 1 << (number >> 32 & 63) | 1 << (number >> 38 & 63) | 1 << (number >> 44 & 63) | 1 << (number >> 50 & 63)
