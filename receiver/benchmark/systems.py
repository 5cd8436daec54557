"""The systems that are compared: the names of their samples, and how the table and the picture call them."""

from __future__ import annotations

from typing import Final

EMBEDDED: Final = "embedded"
ENCRYPTED: Final = "embedded encrypted"
ALL_SUSPENDED: Final = "embedded suspended"
RAW: Final = "raw"
SUSPENDED: Final = "restate suspended"
KEPT: Final = "restate kept"
ON_POSTGRES: Final = "postgres"
RAW_POSTGRES: Final = "raw postgres"

SYSTEMS: Final = {
    EMBEDDED: "Countersign, embedded",
    ENCRYPTED: "the same, payloads encrypted",
    ALL_SUSPENDED: "the same, all suspended",
    RAW: "raw SDK, not durable",
    SUSPENDED: "Restate, suspended",
    KEPT: "Restate, in memory",
    ON_POSTGRES: "Countersign, Postgres",
    RAW_POSTGRES: "raw SDK, Postgres",
}
