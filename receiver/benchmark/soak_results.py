"""What a soak measured over time, and whether anything grew.

The first samples are left out: until finished workflows are deleted for the first time, memory and disk have to grow.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from receiver.benchmark.results import FORMAT, NotResults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: How much the last third may exceed the first third.
GROWTH: Final = 0.1
#: With fewer samples there is no verdict.
FEWEST: Final = 9
#: After how many workflows everything must be as before, and how many samples are compared there.
MANY: Final = 100_000
_WINDOW: Final = 10


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The state after `at` seconds and `callbacks` workflows; the rate and latencies (ms) are of the last interval.

    `speed` is that of the machine itself, with nothing else to do: see `machine.speed`.
    """

    at: float
    callbacks: int
    rate: float
    memory: float
    journal: float
    median: float
    high: float
    speed: float

    @property
    def line(self) -> str:
        """The sample as a line of progress."""
        callbacks = f"{self.callbacks:,}".replace(",", " ")

        return (
            f"{self.at:5.0f} s  {callbacks:>9} workflows  {self.rate:5.0f}/s  {self.memory:6.1f} MiB resident  "
            f"{self.journal:6.1f} MiB on disk  callbacks {self.median:.1f} ms, 99 % {self.high:.1f} ms"
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One thing that must not grow. `flat` is None if that cannot be told."""

    what: str
    measured: str
    flat: bool | None
    decides: bool = True

    @property
    def line(self) -> str:
        """The verdict as a line."""
        word = {True: "flat", False: "NOT FLAT", None: "too short to tell"}[self.flat]

        return f"{self.what}: {self.measured}: {word}"


@dataclass(kw_only=True)
class SoakResults:
    """The samples of a soak, and after how many seconds it counts as warm."""

    machine: str = ""
    warm: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        """Return what is said about memory, journal and rate."""
        samples = [sample for sample in self.samples if sample.at >= self.warm]
        memory = _thirds("memory, last third : first third", samples, lambda sample: sample.memory)
        journal = _thirds("journal, last third : first third", samples, lambda sample: sample.journal)

        return [memory, journal, _after_many(samples)]

    @property
    def flat(self) -> bool:
        """Whether neither memory nor the journal is known to grow."""
        return all(verdict.flat is not False for verdict in self.verdicts() if verdict.decides)

    def write(self, file: Path) -> None:
        """Write them as JSON."""
        file.write_text(json.dumps({"format": FORMAT, "soak": asdict(self)}, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, file: Path) -> SoakResults:
        """Return the results in a file that `write` has written.

        Raises:
            NotResults: it cannot be read, or holds something else.
        """
        try:
            document = json.loads(file.read_text("utf-8"))

            if document["format"] != FORMAT:
                raise NotResults(f"{file} was written by another release")

            soak = document["soak"]

            return cls(**soak | {"samples": [Sample(**sample) for sample in soak["samples"]]})
        except OSError as error:
            raise NotResults(f"{file} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise NotResults(f"{file} does not hold the results of a soak") from error


def _thirds(what: str, samples: Sequence[Sample], value: Callable[[Sample], float]) -> Verdict:
    if len(samples) < FEWEST:
        return Verdict(what=what, measured=f"{len(samples)} samples after warming up", flat=None)

    count = len(samples) // 3
    first, last = (statistics.mean(map(value, part)) for part in (samples[:count], samples[-count:]))
    measured = f"{last:.1f} : {first:.1f} MiB = {last / first:.2f}"

    return Verdict(what=what, measured=measured, flat=last <= first * (1 + GROWTH))


def _after_many(samples: Sequence[Sample]) -> Verdict:
    """Compare the samples before `MANY` workflows came and went with those after it."""
    what = "after 100 000 workflows came and went, against before"
    before = samples[:_WINDOW]
    after = [sample for sample in samples if before and sample.callbacks >= before[-1].callbacks + MANY][:_WINDOW]

    if len(after) < _WINDOW:
        gone = samples[-1].callbacks - before[-1].callbacks if before else 0

        return Verdict(what=what, measured=f"only {gone} came and went", flat=None, decides=False)

    figures: tuple[Callable[[Sample], float], ...] = (
        lambda sample: sample.rate / sample.speed,
        lambda sample: sample.speed,
        lambda sample: sample.memory,
        lambda sample: sample.journal,
    )
    rate, speed, memory, journal = (
        statistics.mean(map(of, after)) / statistics.mean(map(of, before)) for of in figures
    )
    flat = rate >= 1 - GROWTH and max(memory, journal) <= 1 + GROWTH
    measured = (
        f"rate for the speed of the machine x {rate:.2f} (that speed x {speed:.2f}), "
        f"memory x {memory:.2f}, journal x {journal:.2f}"
    )

    return Verdict(what=what, measured=measured, flat=flat, decides=False)
