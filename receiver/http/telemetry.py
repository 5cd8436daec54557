"""What the operator sees of requests: an access line each, and metrics. Neither ever holds a path, a token or a body.

A callback is named by its promise id and its own name, and a client of the workflow API by the name of its key. Metric
labels come from fixed sets, so that nothing a caller sends becomes a label.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from typing import TYPE_CHECKING, Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.counts import CALLS, ENDS, RESULTS
from orchestrator.errors import EngineUnavailable
from orchestrator.logs import ACCESS, log_line
from orchestrator.runs.root_ids import name_of_root
from receiver.http.client_addresses import client_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized

    from prometheus_client.metrics_core import Metric
    from starlette.types import Scope

    from orchestrator.counts import Counted, Counts
    from orchestrator.engine.open_waits import OpenWaits

_access = logging.getLogger(ACCESS)

CallbackOutcome = Literal["applied", "duplicate", "ikey_reused", "other", "closed", "refused"]
ApprovalOutcome = Literal["applied", "duplicate", "other", "closed", "refused"]


#: What operators do by hand, and what came of it.
HandAction = Literal["answer", "remind", "start_again"]
HandResult = Literal["done", "duplicate", "refused"]

WebhookOutcome = Literal["settled", "duplicate", "over", "started", "ignored", "prompted", "refused"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CALLBACK_KEY: Final = "countersign.callback"
_CALLER_KEY: Final = "countersign.caller"
_TOO_MANY: Final = 429
_UNMATCHED: Final = "unmatched"


def name_callback(scope: Scope, promise_id: str, callback: str) -> None:
    """Note which callback this request is about, once its token is verified; the access line names it."""
    scope[_CALLBACK_KEY] = (promise_id, callback)


def name_caller(scope: Scope, name: str) -> None:
    """Note the name of this request's API key; the access line names it."""
    scope[_CALLER_KEY] = name


def log_action(logger: logging.Logger, scope: Scope, root_id: str, action: str, *, by: str) -> None:
    """Log who did this to a workflow, and from which address."""
    client = client_address(scope) or "-"
    name = name_of_root(root_id)

    fields = {**name.document(), "promise": root_id, "by": by, "client": client}
    log_line(logger, logging.INFO, f"{name} {action} by={by} client={client}", fields)


@contextlib.contextmanager
def log_if_unknown(logger: logging.Logger, scope: Scope, root_id: str, action: str, *, by: str) -> Iterator[None]:
    """Log the action with `maybe` if the engine did not confirm it.

    It may have been done, and the next request, which finds it done, does not log it.
    """
    try:
        yield
    except EngineUnavailable:
        log_action(logger, scope, root_id, f"maybe {action}", by=by)
        raise


def route_template(scope: Scope) -> str:
    """Return the path as the route was declared, `/callbacks/{token}`, or `unmatched`; never the path as requested."""
    path = getattr(scope.get("route"), "path_format", None)
    return path if isinstance(path, str) else _UNMATCHED


def log_request(scope: Scope, route: str, status: int, seconds: float) -> None:
    """Write the access line of a request; for a 429 at level debug, because a flood must not fill the log."""
    level = logging.DEBUG if status == _TOO_MANY else logging.INFO
    if not _access.isEnabledFor(level):
        return

    method = _method(scope["method"])
    milliseconds = round(seconds * 1000, 1)
    line = f"{method} {route} {status} {milliseconds:.1f}ms"
    named: dict[str, str] = {}

    if (callback := scope.get(_CALLBACK_KEY)) is not None:
        named["promise"], named["callback"] = callback

    if (caller := scope.get(_CALLER_KEY)) is not None:
        named["by"] = caller

    named["client"] = client_address(scope) or "-"

    for name, value in named.items():
        line = f"{line} {name}={value}"

    log_line(_access, level, line, {"method": method, "route": route, "status": status, "ms": milliseconds, **named})


def log_refusal(peer: tuple[str, int] | None, status: int, reason: str) -> None:
    """Write the access line of what was refused before it could be read as a request; `reason` quotes none of it.

    Nothing is known of its method, its route and its proxies, so `client` is whoever opened the connection.
    """
    client = peer[0] if peer else "-"
    line = f"other {_UNMATCHED} {status} client={client}: {reason}"
    fields = {"method": "other", "route": _UNMATCHED, "status": status, "client": client, "error": reason}
    log_line(_access, logging.INFO, line, fields)


class Metrics:
    """The receiver's metrics, in a registry of their own. Labels come from route templates, methods and statuses.

    `work` adds what this process does beyond answering requests.
    """

    def __init__(self, work: WorkMetrics | None = None) -> None:
        self._registry: Final = CollectorRegistry()
        self._work = work

        if work is not None:
            self._registry.register(work)

        self._requests: Final = Histogram(
            "countersign_request_seconds",
            "Seconds from a request's headers to the end of its response.",
            ("route", "method", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._callbacks: Final = self._counters("callbacks", "Machine callbacks by outcome.", CallbackOutcome)
        self._approvals: Final = self._counters("approvals", "Decisions of people by outcome.", ApprovalOutcome)
        self._webhooks: Final = self._counters("webhooks", "Third-party deliveries by outcome.", WebhookOutcome)
        self._engine_errors: Final = Counter(
            "countersign_engine_errors",
            "Requests for which the engine did not reply in time, or replied with garbage.",
            registry=self._registry,
        )
        self._by_hand: Final = Counter(
            "countersign_by_hand",
            "What operators did by hand, by action and result.",
            ("action", "result"),
            registry=self._registry,
        )
        for action, result in itertools.product(get_args(HandAction), get_args(HandResult)):
            self._by_hand.labels(action, result)

        # Finding a labelled child costs more than observing it, so each is looked up once, here and in `_counters`.
        self._observers: Final[dict[tuple[str, str, int], Histogram]] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one finished request; `route` is a template, never a path."""
        key = (route, _method(method), status)
        observer = self._observers.get(key)
        if observer is None:
            observer = self._observers[key] = self._requests.labels(key[0], key[1], str(status))

        observer.observe(seconds)

    def callback(self, outcome: CallbackOutcome) -> None:
        """Count one machine callback; `other`: somebody else had settled the wait, `closed`: the wait was over."""
        self._callbacks[outcome].inc()

    def approval(self, outcome: ApprovalOutcome) -> None:
        """Count one decision; `duplicate`: already recorded, `other`: another one was recorded, `closed`: too late."""
        self._approvals[outcome].inc()

    def webhook(self, outcome: WebhookOutcome) -> None:
        """Count one third-party delivery; `over`: its wait had ended, `ignored`: the source does not need its event."""
        self._webhooks[outcome].inc()

    def by_hand(self, action: HandAction, result: HandResult) -> None:
        """Count one action of an operator; `duplicate`: the same had been done before."""
        self._by_hand.labels(action, result).inc()

    def engine_error(self) -> None:
        """Count one request that failed because of the engine."""
        self._engine_errors.inc()

    def render(self, waits: OpenWaits | None = None) -> tuple[bytes, str]:
        """Return the metrics in the Prometheus text format, and its content type. `waits` are what is open now."""
        if self._work is not None:
            self._work.waits = waits

        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _counters(self, name: str, description: str, outcomes: object) -> Mapping[str, Counter]:
        """Return a counter for each outcome. It is exported as zero from the start, so that rates count the first."""
        counter = Counter(f"countersign_{name}", description, ("outcome",), registry=self._registry)

        return {outcome: counter.labels(outcome) for outcome in get_args(outcomes)}


class WorkMetrics(Collector):
    """What workflows and their steps do, as far as this process knows; what it does not know is absent.

    `workflows` are the names of those that may be started. Without `works`, other processes run them, so only what this
    one started is known. `cached` is how many wait in memory. `waits` is what was found out for the next `collect`.
    """

    def __init__(
        self,
        counts: Counts,
        workflows: Iterable[str],
        *,
        works: bool,
        cached: Sized = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts = counts
        self._workflows = tuple(workflows)
        self._works = works
        self._cached = cached
        self._clock = clock
        self.waits: OpenWaits | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        names = [(name,) for name in self._workflows]
        yield self._counter("workflows_started", "Workflows that this process started.", ("workflow",), names)

        if self._works:
            ends = [(name, state) for name in self._workflows for state in ENDS]
            calls = [(call, result) for call in CALLS for result in RESULTS]
            results = [(result,) for result in RESULTS]
            yield self._counter("workflows_ended", "Workflows that ended, by state.", ("workflow", "state"), ends)
            yield self._counter("step_failures", "Tries of steps that failed.", ("step",))
            yield self._counter("mails", "Mails by what the mail server made of them.", ("result",), results)
            yield self._counter("databricks_calls", "Calls of the Jobs API.", ("call", "result"), calls)
            yield self._counter("model_calls", "Questions to the language model.", ("result",), results)
            waiting = len(self._cached)
            yield GaugeMetricFamily("countersign_cached_workflows", "Workflows that wait in memory.", waiting)

        if self.waits is not None:
            oldest = self.waits.oldest_at
            age = 0.0 if oldest is None else max(self._clock() - oldest / 1000, 0.0)
            yield GaugeMetricFamily("countersign_open_waits", "Waits that nobody has answered.", self.waits.count)
            yield GaugeMetricFamily("countersign_oldest_wait_seconds", "Age of the oldest of them, 0 without any.", age)

    def _counter(
        self, name: Counted, text: str, labels: Sequence[str], known: Iterable[tuple[str, ...]] = ()
    ) -> CounterMetricFamily:
        """Return a counter. What is `known` to be possible and has not happened yet is 0."""
        family = CounterMetricFamily(f"countersign_{name}", text, labels=labels)

        for values, count in {**dict.fromkeys(known, 0), **self._counts.of(name)}.items():
            family.add_metric(values, count)

        return family


def _method(method: str) -> str:
    return method if method in _METHODS else "other"
