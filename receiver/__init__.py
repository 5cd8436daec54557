"""The HTTP edge. It is stateless: every response is read from the engine.

An application that mounts the receiver needs

    from receiver import create_app, load_settings

Each name is imported on first use. `python -m receiver` imports this package before its own first line, and it has to
handle signals from that line on.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from orchestrator.config.settings import load_settings
    from receiver.app import create_app

__all__ = ["create_app", "load_settings"]


def __getattr__(name: str) -> Any:
    """Return the public object of this name.

    Raises:
        AttributeError: the package has no public object of this name.
    """
    if name == "create_app":
        from receiver.app import create_app  # noqa: PLC0415 - see above

        return create_app

    if name == "load_settings":
        from orchestrator.config.settings import load_settings  # noqa: PLC0415 - see above

        return load_settings

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
