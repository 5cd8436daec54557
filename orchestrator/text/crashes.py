"""What may be shown of an unexpected exception: its type, its code and where it came from. Never its text.

Such a text quotes what the code was working on: `int(body)` puts the body into it, a KeyError is the key, pydantic
shows the input. Notes, groups and causes do the same. So no log line and no response contains one.
"""

from __future__ import annotations

import errno
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

#: How many exceptions of a chain are shown, and how many places in the code for each.
_LINKS: Final = 16
_PLACES: Final = 24

_LONGEST_NAME: Final = 100

#: The attributes in which errors of SQLite, of Postgres and of an engine server keep a code, and its type.
_CODES: Final = (("sqlite_errorname", str), ("sqlstate", str), ("code", int))
_LARGEST_CODE: Final = 2**63

#: Where code lies that is no author's: libraries, Python's own, and ours.
_LIBRARIES: Final = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(str(Path(__file__).parents[2] / package) + "/" for package in ("orchestrator", "receiver")),
)


def describe_crash(error: BaseException) -> str:
    """Return an exception's type and where it came from, with its causes, and nothing of its text or values.

    At most 16 exceptions of a chain or group, and the innermost 24 places of each.
    """
    links = _causes(error)
    shown = [_describe(link) for _, link in zip(range(_LINKS), links, strict=False)]

    return " <- ".join([*shown, "more"] if next(links, None) else shown)


def describe_end(error: BaseException) -> str:
    """Return the type and the place of an error that an author raised on purpose, by a function of ours perhaps.

    Its message is included if it is written out in the code that raised it: then it quotes nothing.
    """
    trace = list(traceback.walk_tb(error.__traceback__))
    message = str(error)
    said = f": {message}" if any(message in frame.f_code.co_consts for frame, _ in trace) else ""
    passed = _places(error.__traceback__)
    authors = [each for each in passed if not each[0].startswith(("<", *_LIBRARIES))]
    where = [at_line(*each) for each in authors or passed]

    return f"{short_name(type(error))}{said}{''.join(where[-1:])}"


def name_of_kind(error: BaseException) -> str:
    """Return an exception's type, and its code if it has one: `builtins.OSError ENOSPC`."""
    kind = type(error)
    code = _code_of(error)

    return _shown(f"{kind.__module__}.{kind.__qualname__}") + (f" {code}" if code else "")


def short_name(kind: type) -> str:
    """Return what a class is called, in one line of at most 100 characters. A name may hold anything."""
    return _shown(kind.__name__)


def _shown(name: str) -> str:
    shown = name if name.isprintable() else name.encode("unicode_escape").decode()

    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."


def at_line(file: str, line: int, function: str) -> str:
    """Return a line of code for the end of a text: ` at shop.py:12 in fulfil`."""
    return f" at {Path(file).name}:{line} in {function}"


def place_in(error: BaseException, file: str) -> str:
    """Return the innermost line of this file that the exception passed through, as `at_line` shows it, or nothing."""
    found = [each for each in _places(error.__traceback__) if each[0] == file]

    return at_line(*found[-1]) if found else ""


def own_places(error: BaseException, home: str) -> list[tuple[str, int, str]]:
    """Return the files, lines and functions in an author's own code that the exception passed through.

    `home` is a file of theirs. Files in its folder are theirs too, and other files that belong to no library. The
    innermost is last; the list is empty if the exception passed through none.
    """
    folder = Path(home).parent

    return [
        each
        for each in _places(error.__traceback__)
        if Path(each[0]).parent == folder or not each[0].startswith(("<", *_LIBRARIES))
    ]


def places(error: BaseException) -> list[tuple[str, int]]:
    """Return the files and lines that the exception passed through, the innermost last. A SyntaxError adds its own."""
    passed = [(file, line) for file, line, _ in _places(error.__traceback__)]
    own = [(error.filename, error.lineno or 0)] if isinstance(error, SyntaxError) and error.filename else []

    return passed + own


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException] = [error]
    while pending:
        link = pending.pop(0)
        if id(link) in seen:
            continue

        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            pending.extend(link.exceptions)

        cause = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if cause is not None:
            pending.append(cause)


def _describe(error: BaseException) -> str:
    passed = _places(error.__traceback__)
    # The way through our own code to an author's is the same for every error of theirs.
    first = next((n for n, each in enumerate(passed) if not each[0].startswith(("<", *_LIBRARIES))), 0)
    places = [f"{file}:{line} {function}" for file, line, function in passed[first:]]
    left_out = [f"{len(places) - _PLACES} more"] if len(places) > _PLACES else []

    return f"{name_of_kind(error)} at {' > '.join([*left_out, *places[-_PLACES:]]) or 'an unknown place'}"


def _places(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    # `walk_tb` and not `extract_tb`, which reads the source.
    walked = traceback.walk_tb(trace)

    return [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walked]


def _code_of(error: BaseException) -> str:
    if isinstance(error, OSError):
        # The constructor accepts any object as the number.
        return errno.errorcode.get(error.errno, "") if isinstance(error.errno, int) else ""

    for name, kind in _CODES:
        code: Any = getattr(error, name, None)

        # A number of thousands of digits cannot be written.
        if isinstance(code, kind) and (isinstance(code, str) or abs(code) < _LARGEST_CODE):
            return str(code)[:40]

    return ""


def leaves_of(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the exceptions of a group, and those of the groups in it."""
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from leaves_of(each)
        else:
            yield each
