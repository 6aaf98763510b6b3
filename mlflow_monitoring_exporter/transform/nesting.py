"""Which runs of an experiment are nested in which, and so which are one event.

A search is one event with as many candidates as it has nested runs. Its root is the outermost run around them; where
that one is not in the experiment (deleted, or of another experiment), the place that it would have is.

Runs are places here (transform/experiment_table.py), so this costs eight bytes for each.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

_NONE = -1


class Nesting:
    """The parent of each place. False while no run is nested."""

    def __init__(self) -> None:
        self._parent = array("i")
        self._root = array("i")
        self._children: Counter[int] = Counter()
        self._stale = False

    def __bool__(self) -> bool:
        return bool(self._children)

    def add(self) -> None:
        """One more place, which is its own root."""
        self._root.append(len(self._parent))
        self._parent.append(_NONE)

    def parent(self, place: int) -> int | None:
        """The place around this one, if there is one."""
        found = self._parent[place]
        return None if found == _NONE else found

    def has_children(self, place: int) -> bool:
        return place in self._children

    def put(self, place: int, parent: int | None) -> None:
        """From now on ``place`` is nested in ``parent``."""
        before, after = self._parent[place], _NONE if parent is None else parent
        if before == after:
            return
        if before != _NONE:
            self._children[before] -= 1
            if not self._children[before]:
                del self._children[before]
        if after != _NONE:
            self._children[after] += 1
        self._parent[place] = after
        if place in self._children:
            self._stale = True  # and found when it is asked for, or loading children before parents would be slow
        elif not self._stale:
            alone = after == _NONE or (self._root[after] == after and self._parent[after] != _NONE)  # a circle
            self._root[place] = place if alone else self._root[after]

    def roots(self) -> array[int]:
        """The root of each place, by place; those whose parents go in a circle are their own roots."""
        if self._stale:
            self._find_roots()
        return self._root

    def above(self, place: int) -> Iterator[int]:
        """The places around one, up to its root."""
        root = self.roots()[place]
        while place != root:
            place = self._parent[place]
            yield place

    def below(self, place: int) -> set[int]:
        """The places that are nested in this one, however deeply."""
        found, newest = set[int](), {place}
        while newest:
            newest = {at for at, parent in enumerate(self._parent) if parent in newest} - found - {place}
            found |= newest
        return found

    def _find_roots(self) -> None:
        root = array("i", [_NONE]) * len(self._parent)
        circular: set[int] = set()
        for start in range(len(root)):
            path: list[int] = []
            on_path: set[int] = set()
            at = start
            while root[at] == _NONE and at not in on_path and self._parent[at] != _NONE:
                path.append(at)
                on_path.add(at)
                at = self._parent[at]
            if at in on_path or at in circular:
                circular.update(path)
                for one in path:
                    root[one] = one
                continue
            if root[at] == _NONE:
                root[at] = at
            for one in path:
                root[one] = root[at]
        self._root, self._stale = root, False
