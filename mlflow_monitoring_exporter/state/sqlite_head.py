"""What the bytes of a file tell about it when SQLite cannot read it (https://www.sqlite.org/fileformat2.html).

::

    0 .. 99      the head: that it is a database, and how its pages are made
    anywhere     of each table a row of sqlite_master:  "table" name name page "CREATE TABLE name ..."

So a database whose head is damaged still says which tables it has. Text that quotes such a row, as a dump does, has
not the same words without anything between them.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Iterator
from enum import Enum
from pathlib import Path

#: Bytes of the head.
HEAD = 100
_MAGIC = b"SQLite format 3\x00"
#: Of those 16 bytes, so many in their places are no accident.
_ALIKE = 8
#: Three numbers that are the same in every database.
_FRACTIONS = (64, 32, 32)
_TABLE = re.compile(
    rb'table([A-Za-z_]\w{0,63})\1[\x00-\xff]{1,9}CREATE (?:VIRTUAL )?TABLE (?:IF NOT EXISTS )?["`\[]?\1\b'
)


class Sign(Enum):
    """Whose a file seems to be by the tables that it names."""

    OURS = "ours"
    FOREIGN = "foreign"
    NONE = "none"


def looks_like_sqlite(head: bytes) -> bool:
    """Whether this begins as an SQLite database does, or nearly so: by its first words, or by numbers behind them."""
    alike = sum(mine == its for mine, its in zip(_MAGIC, head, strict=False))
    return alike >= _ALIKE or tuple(head[21:24]) == _FRACTIONS


def what_is_wrong(head: bytes) -> str | None:
    """Why SQLite could not read, or not write, a file of ours that begins like this; None when nothing is wrong.

    What may differ between builds of SQLite (pages, reserved space, automatic vacuum) is left to it.
    """
    if not head.startswith(_MAGIC):
        return "it begins with zeros" if not head[: len(_MAGIC)].strip(b"\x00") else "its first bytes are not SQLite's"
    if len(head) < HEAD:
        return "it ends within its head"
    page = int.from_bytes(head[16:18], "big")
    if page != 1 and (page < 512 or page & (page - 1)):  # 1 is 65,536
        return f"its head says pages of {page} bytes"
    for what, found, known in (
        ("write version", head[18], (1, 2)),
        ("read version", head[19], (1, 2)),
        ("payload fractions", tuple(head[21:24]), (_FRACTIONS,)),
        ("schema format", int.from_bytes(head[44:48], "big"), (0, 1, 2, 3, 4)),
        ("text encoding", int.from_bytes(head[56:60], "big"), (0, 1)),
    ):
        if found not in known:
            return f"its head has {found} for its {what}"
    return None


def signs(path: Path, ours: Collection[str]) -> Sign:
    """Whose the file is, by all of its bytes and those of its write-ahead log: reads both whole.

    A table or two of the same name say nothing where there are others.
    """
    found = set(_tables(path)) | set(_tables(path.with_name(f"{path.name}-wal")))
    if not found:
        return Sign.NONE
    return Sign.OURS if found <= set(ours) or len(found & set(ours)) > 2 else Sign.FOREIGN


def _tables(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for row in _TABLE.finditer(content):
                yield row[1].decode("ascii", "replace")
    except (OSError, ValueError):  # it is not there, or empty
        return
