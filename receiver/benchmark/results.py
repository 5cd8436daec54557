"""The results of a run: what was measured, by name, and where. They are written as JSON and read again.

Samples with the same place in two lists come from the same repetition, so they can be compared.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Read from a file only if it is this, so that a file of another release is refused instead of misread.
FORMAT: Final = 1


class NotResults(Exception):
    """A file has no results in our format. The text says why."""


@dataclass(kw_only=True)
class Results:
    """What a run measured: rates per second, times in seconds, memory in MiB.

    `sizes` are the batches, `memory`, `postgres` and `lists` the numbers of workflows in those parts. `machine` is a
    line about the machine, `missing` says why a system was left out, and `versions` what was compared.
    """

    sizes: list[int]
    memory: int
    postgres: int
    lists: int = 0
    machine: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def take(self, name: str, *values: float | None) -> None:
        """Add samples; None is a figure that this system does not have."""
        measured = [value for value in values if value is not None]

        if measured:
            self.samples.setdefault(name, []).extend(measured)

    def median(self, name: str) -> float | None:
        """Return the median of the samples, None if there are none."""
        values = self.samples.get(name)

        return statistics.median(values) if values else None

    def range(self, name: str) -> tuple[float, float] | None:
        """Return the least and the greatest sample, which show how much the machine's speed drifted."""
        values = self.samples.get(name)

        return (min(values), max(values)) if values else None

    def ratios(self, name: str, to: str) -> list[float]:
        """Return one sample divided by the other for each repetition; empty if one was left out."""
        values, others = self.samples.get(name, []), self.samples.get(to, [])

        return [value / other for value, other in zip(values, others, strict=False) if other]

    def quantile(self, name: str, share: float) -> float | None:
        """Return the sample below which this share of the samples lies, None if there are none."""
        values = sorted(self.samples.get(name, []))

        return values[min(len(values) - 1, int(len(values) * share))] if values else None

    def write(self, file: Path) -> None:
        """Write them as JSON."""
        file.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, file: Path) -> Results:
        """Return the results in a file that `write` has written.

        Raises:
            NotResults: it cannot be read, or holds something else.
        """
        try:
            document = json.loads(file.read_text("utf-8"))

            if document.pop("format") != FORMAT:
                raise NotResults(f"{file} was written by another release")

            return cls(**document)
        except OSError as error:
            raise NotResults(f"{file} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotResults(f"{file} does not hold the results of a benchmark") from error
