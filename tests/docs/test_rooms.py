"""docs/rooms.svg shows the imports as they are, and every room is on it."""

from __future__ import annotations

from docs.rooms import PICTURE, ROOT, imports, picture, rooms


def test_the_picture_shows_the_imports() -> None:
    assert PICTURE.read_text() == picture(rooms(), imports()), "draw it again: python -m docs.rooms"


def test_no_import_points_back() -> None:
    order = rooms()
    back = {(room, imported) for room, imported in imports() if order.index(room) > order.index(imported)}
    assert back == set()


def test_every_room_has_its_row_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    assert [room for room in rooms() if f"`{room}/`" not in text] == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """Pytest imports them by their name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()
