"""The HTTP edge. Stateless: everything it answers is read from the engine.

from receiver import create_app, load_settings

is what an application needs that mounts it. Each name is imported when it is first asked for: `python -m receiver`
passes through here before its own first line, and has to hear a signal by then.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from orchestrator.config.settings import load_settings
    from receiver.app import create_app

__all__ = ["create_app", "load_settings"]


def __getattr__(name: str) -> Any:
    """Return what `name` stands for in this package.

    Raises:
        AttributeError: nothing of this name is for applications that mount the receiver.
    """
    if name == "create_app":
        from receiver.app import create_app  # noqa: PLC0415 - see above

        return create_app

    if name == "load_settings":
        from orchestrator.config.settings import load_settings  # noqa: PLC0415 - see above

        return load_settings

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
