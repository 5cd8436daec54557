"""How the Jobs API refuses a request, and the checks that every call makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ApiError(Exception):
    """A refusal in the form of the real API."""

    def __init__(self, status: int, error_code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": error_code, "message": message}
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def invalid(message: str) -> ApiError:
    """Return the refusal that the Jobs API gives for most mistakes."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def only(body: Mapping[str, object], *known: str) -> None:
    """Refuse a field that the emulator does not know. Databricks would ignore it, and hide a mistake."""
    if unknown := sorted(set(body) - set(known)):
        raise ApiError(400, "MALFORMED_REQUEST", f"This emulator does not know the fields {unknown}")


def number(body: Mapping[str, object], name: str, default: int | None = None) -> int:
    """Return a field that is a number in JSON or in a query. Without a default, it is required."""
    value = str(body.get(name, "" if default is None else default))

    if not (value.isascii() and value.isdigit()):
        raise ApiError(400, "MALFORMED_REQUEST", f"Could not parse request object: {name}: expected a number")

    return int(value)


def flag(body: Mapping[str, object], name: str) -> bool:
    """Return a field that is true or false in JSON or in a query, and false if it is missing."""
    value = str(body.get(name, False)).lower()

    if value not in {"true", "false"}:
        raise ApiError(400, "MALFORMED_REQUEST", f"Could not parse request object: {name}: expected true or false")

    return value == "true"
