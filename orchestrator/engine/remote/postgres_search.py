"""Searching a Postgres database that holds the resonate-pg schema, by SQL: its protocol has no search.

Where `lists.sql` was applied, its functions read our indexes, so a page costs the same however many workflows are over.
Elsewhere the table is read whole, and the answer says so.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, LiteralString

from resonate.types import PromiseRecord, Value
from resonate_base import ConnectorError

from orchestrator.engine.search import ENDED, Found, Position, wanted
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.engine.remote.postgres import AutocommitSessions
    from orchestrator.engine.search import RootSearch, WaitSearch

_SLOW: Final = "The database lacks our indexes, so lists are slow: apply what `countersign doctor --sql` prints."
_DENIED: Final = "the database user may not list anything: apply what `countersign doctor --sql` prints"

_STATUSES: Final = ("running", "succeeded", "failed", "expired", "cancelled", ENDED)
#: The audience of a wait that was opened before waits said it, and that may be a question.
_UNSAID: Final = ""

#: Later than every time, and earlier.
_NEVER: Final = 2**63 - 1
_ALWAYS: Final = -(2**63)

#: Whether our functions may be called and their indexes are ready, and whether the table may be read.
_LOOK: Final = """
SELECT
  (SELECT count(*) = 2 AND bool_and(has_schema_privilege(pronamespace, 'USAGE')
     AND has_function_privilege(pg_proc.oid, 'EXECUTE'))
   FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
   WHERE nspname = 'countersign' AND proname IN ('find_workflows', 'find_waits'))
  AND (SELECT count(*) = 3 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
   WHERE relname IN ('countersign_workflows', 'countersign_waits', 'countersign_people') AND indisvalid),
  has_schema_privilege('resonate', 'USAGE') AND has_table_privilege('resonate.promises', 'SELECT')
"""

_FIELDS: Final = (
    "id, state, param_headers, param_data, value_headers, value_data, tags, timeout_at, created_at, settled_at"
)
_ROOTS: Final = f"""
SELECT {_FIELDS} FROM countersign.find_workflows(
  %(workflow)s::text, %(lines)s::text[], %(since)s::bigint, %(at)s::bigint, %(id)s::text, %(limit)s::int)
"""  # noqa: S608 - constants
_WAITS: Final = f"""
SELECT {_FIELDS} FROM countersign.find_waits(
  %(workflow)s::text, %(lines)s::text[], %(people)s::text[], %(at)s::bigint, %(id)s::text, %(limit)s::int)
"""  # noqa: S608 - constants
_ROOTS_SLOWLY: Final = f"""
SELECT {_FIELDS} FROM resonate.promises
WHERE tags ? 'countersign:nonce' AND (%(workflow)s::text IS NULL OR split_part(id, '.', 1) = %(workflow)s::text)
  AND CASE state WHEN 'pending' THEN 'running' WHEN 'rejected' THEN 'failed' WHEN 'rejected_timedout' THEN 'expired'
    WHEN 'rejected_canceled' THEN 'cancelled' ELSE coalesce(value_headers ->> 'countersign:state', 'ended') END
    = ANY(%(lines)s::text[])
  AND created_at >= %(since)s::bigint AND (created_at, id COLLATE "C") < (%(at)s::bigint, %(id)s::text)
ORDER BY created_at DESC, id COLLATE "C" DESC LIMIT %(limit)s::int
"""  # noqa: S608 - constants
_WAITS_SLOWLY: Final = f"""
SELECT {_FIELDS} FROM resonate.promises
WHERE state = 'pending' AND tags ? 'countersign:callback'
  AND (%(workflow)s::text IS NULL OR split_part(id, '.', 1) = %(workflow)s::text)
  AND (coalesce(tags ->> 'countersign:audience', CASE WHEN param_data IS NULL THEN 'machine' ELSE '' END)
    = ANY(%(lines)s::text[]) OR string_to_array(tags ->> 'countersign:people', ' ') && %(people)s::text[])
  AND (created_at, id COLLATE "C") > (%(at)s::bigint, %(id)s::text)
ORDER BY created_at, id COLLATE "C" LIMIT %(limit)s::int
"""  # noqa: S608 - constants


def lists_sql() -> str:
    """Return the SQL that makes lists fast, for the owner of the database's resonate-pg schema to apply."""
    return files("orchestrator.engine.remote").joinpath("lists.sql").read_text("utf-8")


class PostgresSearch:
    """Searches by these sessions."""

    def __init__(self, sessions: AutocommitSessions) -> None:
        self._sessions = sessions

    async def roots(self, search: RootSearch) -> Found:
        """Return the workflows that were found.

        Raises:
            EngineUnavailable: the database did not answer, or this user may not list anything.
        """
        before = Position(_NEVER, "") if search.before is None else search.before
        before = before if search.until is None else min(before, Position(search.until + 1, ""))
        parameters = {
            "workflow": search.workflow,
            "lines": sorted(wanted(search.statuses)) or list(_STATUSES),
            "since": _ALWAYS if search.since is None else search.since,
            "at": before.at,
            "id": before.id,
        }

        return await self._found(_ROOTS, _ROOTS_SLOWLY, parameters, search.limit)

    async def waits(self, search: WaitSearch) -> Found:
        """Return the open waits that were found. Raises what `roots` raises."""
        after = Position(_ALWAYS, "") if search.after is None else search.after
        audiences = ["machine", "approver"] if search.audience is None else [search.audience]
        parameters = {
            "workflow": search.workflow,
            "lines": [_UNSAID] if search.people else [*audiences, _UNSAID],
            "people": sorted(search.people),
            "at": after.at,
            "id": after.id,
        }

        return await self._found(_WAITS, _WAITS_SLOWLY, parameters, search.limit)

    async def _found(
        self, query: LiteralString, slowly: LiteralString, parameters: Mapping[str, Any], limit: int
    ) -> Found:
        try:
            ((fast, may_read),) = await self._sessions.look(_LOOK)

            if not fast and not may_read:
                raise EngineUnavailable(_DENIED)

            rows = await self._sessions.look(query if fast else slowly, {**parameters, "limit": limit + 1})

        except ConnectorError as error:
            raise EngineUnavailable(f"the database could not be searched ({type(error.__cause__).__name__})") from error

        records = [_record(row) for row in rows[:limit]]
        more = len(rows) > limit

        return Found(
            records=records,
            next=Position(records[-1].created_at, records[-1].id) if more else None,
            caveats=() if fast else (_SLOW,),
        )


def _record(row: tuple[Any, ...]) -> PromiseRecord:
    id_, state, param_headers, param_data, value_headers, value_data, tags, timeout_at, created_at, settled_at = row

    return PromiseRecord(
        id=id_,
        state=state,
        param=Value(headers=param_headers, data=param_data),
        value=Value(headers=value_headers, data=value_data),
        tags=tags,
        timeout_at=timeout_at,
        created_at=created_at,
        settled_at=settled_at,
    )
