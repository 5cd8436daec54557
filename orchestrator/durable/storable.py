"""Whether the store can hold what a step returned or raised, so that a replay gets the same."""

from __future__ import annotations

from orchestrator.errors import NotJson, StepFailed
from orchestrator.sdk_internals import as_written
from orchestrator.text.json_writing import dumps_strict


def storable[T](result: T | Exception, place: str) -> T | NotJson | Exception:
    """Return what a step ended with, or the error that names what the engine could not store in it.

    The SDK would write NaN as null. It would give up on a text with a lone surrogate, and the step would be run again
    forever.
    """
    try:
        if isinstance(result, Exception):
            str(result).encode()
        else:
            check_storable(result, place)

    except NotJson as error:
        return error
    except UnicodeEncodeError:
        kind = result.kind if isinstance(result, StepFailed) else type(result).__name__

        return NotJson(f"{place} is a {kind} whose text holds a lone surrogate")

    return result


def check_storable(value: object, place: str) -> None:
    """Return if the engine can store the value unchanged.

    Raises:
        NotJson: it cannot; names the place.
    """
    dumps_strict(value, place, convert=as_written)
