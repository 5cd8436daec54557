"""The order history, in a database that only the worker group `db` opens: a SQLite file.

All workers of the group must see the same file. If they run on several machines, put a database server behind
`OrderBook`; nothing else knows where orders are stored.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from orchestrator.config.private_files import make_file, make_folder
from orchestrator.durable.dependencies import dependency
from orchestrator.durable.group_steps import group_step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resonate.context import Context as SDKContext

DEFAULT_PLACE: Final = Path(".countersign/orders.db")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders(
  number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL, customer TEXT NOT NULL,
  total_cents INTEGER NOT NULL)
"""
_ENTER: Final = "INSERT OR IGNORE INTO orders(key, order_id, customer, total_cents) VALUES (?, ?, ?, ?)"
_EARLIER: Final = """
SELECT count(*) FROM orders JOIN orders AS this ON this.key = ? AND orders.customer = this.customer
WHERE orders.number < this.number
"""


class OrderBook:
    """Every order, once.

    The file is made when the first order is entered, and only this user can read it. It is not kept open in between.
    """

    def __init__(self, path: Path = DEFAULT_PLACE) -> None:
        self._path = path

    async def enter(self, key: str, *, order_id: str, customer: str, total_cents: int) -> int:
        """Enter the order unless this key was entered, and return how many the customer had made before it.

        The same key gets the same number, whatever was entered since.

        Raises:
            sqlite3.Error, OSError: raised in a step, they make the SDK try the step again.
        """
        return await anyio.to_thread.run_sync(self._entered, (key, order_id, customer, total_cents))

    def _entered(self, order: tuple[str, str, str, int]) -> int:
        make_folder(self._path.parent)
        make_file(self._path)

        with contextlib.closing(sqlite3.connect(self._path, timeout=10)) as database, database:
            database.execute(_SCHEMA)
            database.execute(_ENTER, order)
            (earlier,) = database.execute(_EARLIER, order[:1]).fetchone()

        return int(earlier)


@dependency(group="db")
async def orders() -> AsyncIterator[OrderBook]:
    """Give the steps of the group the book at its default place."""
    yield OrderBook()


@group_step("db")
async def order_history(ctx: SDKContext, order_id: str, customer: str, total_cents: int) -> int:
    """Enter the order into the book and return how many the customer had made before it."""
    return await ctx.get_dependency(OrderBook).enter(
        ctx.info.origin_id, order_id=order_id, customer=customer, total_cents=total_cents
    )
