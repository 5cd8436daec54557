"""The benchmark: what the service does in a second, beside the bare framework and the SDK alone, on this machine.

Everything runs on loopback, each server and the load generator as a process of its own. The repetitions of all
measurements are interleaved and their medians compared, because a machine drifts: a figure means something only beside
the others of its run, so the goals are ratios wherever they can be. A missed goal is told and is no fault; a wrong
answer, a workflow that does not finish and a callback that is applied twice are, and the exit code is 1.
"""

from __future__ import annotations
