"""A form of the console: it says what it will do, asks what it needs, and does nothing until it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from receiver.pages.console import console_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from receiver.pages.console import Frame

#: What a reason may have, in characters.
MAX_REASON = 2000


@dataclass(frozen=True, kw_only=True)
class Field:
    """One thing that a form asks: a choice between `options` (values and texts), or a text of one or more lines.

    For a text of one line, the options are suggestions.
    """

    name: str
    label: str
    kind: Literal["choice", "line", "lines", "hidden"]
    value: str = ""
    hint: str = ""
    options: Sequence[tuple[str, str]] = ()
    required: bool = True
    longest: int = MAX_REASON


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form with a headline, sentences that say what will happen, and the text of its button.

    `back` is the page that it was opened from, whose name is `subject`.
    """

    title: str
    subject: str
    back: str
    says: Sequence[str]
    fields: Sequence[Field]
    button: str
    danger: bool = False

    def response(
        self,
        frame: Frame,
        *,
        status: int = 200,
        fault: str | None = None,
        given: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the page. With `fault`, it says what is wrong, and shows again what was given."""
        return console_page(
            "console_form.html", frame, status=status, headers=headers, form=self, fault=fault, given=given or {}
        )


def reason_field(*, required: bool = True) -> Field:
    """Return the field that asks why, which is recorded with the name of the key."""
    return Field(
        name="reason",
        label="Reason",
        kind="lines",
        hint="It is recorded with the name of your key, for everybody who may look at this run.",
        required=required,
    )
