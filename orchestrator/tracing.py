"""Traces of workflows for OpenTelemetry, an optional extra: from the start over steps and waits to the end.

The span of a workflow's start is the parent of all others. Its context is stored with the workflow in the W3C form
(`traceparent`), so spans of other processes, and those after a crash, belong to the same trace. A replayed step runs no
code, so it gives no second span. Spans name workflows, ids, steps, callbacks and states, never their contents.

Only the standard OTEL_* variables configure this. Without the extra or an exporter, nothing here does anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import threading
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, Tracer

    type Attributes = Mapping[str, str | int | float]

#: https://www.w3.org/TR/trace-context/#traceparent-header, version 00.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)

_SAMPLED: Final = 1

_NOTHING: Final = contextlib.nullcontext()

#: Seconds that the last spans have to leave the process at its end.
_FLUSH: Final = 3.0

#: A variable that names an exporter or where one sends to, and the values that switch it off again.
_NAMES: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether these variables ask for traces, and name an exporter that is known here: `otlp`."""
    off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()

    return not off and exporter in {"", "otlp"} and any(environ.get(name, "").strip() for name in _NAMES)


def one_traceparent(values: Sequence[str]) -> str | None:
    """Return what the `traceparent` headers `values` say, None unless there is exactly one and it is well-formed."""
    return values[0] if len(values) == 1 and _TRACEPARENT.fullmatch(values[0]) else None


def trace_of(start: object) -> str | None:
    """Return the traceparent that is stored with what a workflow was started with, None if there is none."""
    match start:
        case {"trace": str(text)} if _TRACEPARENT.fullmatch(text):
            return text
        case _:
            return None


class Started:
    """A span under way. It reaches the exporter only when it is ended."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """The span's context, to be stored or passed on."""
        if self._span is None:
            return None

        context = self._span.get_span_context()

        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self) -> None:
        """End the span."""
        if self._span is not None:
            self._span.end()


class Tracing:
    """Where this process's spans go. Without a provider it does nothing."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer: Tracer | None = None if provider is None else provider.get_tracer("countersign")

    @classmethod
    def configured(cls, *, wanted: bool) -> Self:
        """Return what the OTEL_* variables configure, if traces are `wanted` and the extra is installed.

        It also becomes OpenTelemetry's provider in this process, so that the spans of instrumented libraries that steps
        use belong to the same trace. An application that has set its own provider keeps it, and gets our spans.
        """
        if not wanted or importlib.util.find_spec("opentelemetry") is None:
            return cls()

        try:
            from opentelemetry import trace  # noqa: PLC0415 - an extra
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError:
            return cls()

        if isinstance(known := trace.get_tracer_provider(), TracerProvider):
            return cls(known)

        named = Resource({"service.name": "countersign"}).merge(Resource.create())
        provider = TracerProvider(resource=named, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)

        return cls(provider)

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""
        return self._tracer is not None

    def start(self, name: str, attributes: Attributes, *, parent: str | None = None) -> Started:
        """Start a span below this traceparent; without one, below the span that is current here, if any."""
        if self._tracer is None:
            return Started(None)

        context = None if parent is None else _context_of(parent)

        return Started(self._tracer.start_span(name, context=context, attributes=attributes))

    def within(self, traceparent: str | None) -> AbstractContextManager[None]:
        """Make this the parent of the spans that are started in the block."""
        if self._tracer is None or traceparent is None or _TRACEPARENT.fullmatch(traceparent) is None:
            return _NOTHING

        return self._within(traceparent)

    @contextlib.contextmanager
    def _within(self, traceparent: str) -> Iterator[None]:
        from opentelemetry import context  # noqa: PLC0415 - an extra

        token = context.attach(_context_of(traceparent))

        try:
            yield
        finally:
            context.detach(token)

    def step(self, name: str, attributes: Attributes) -> AbstractContextManager[None]:
        """Make a span of the block, if it belongs to a trace. A block that is suspended or cancelled gives none."""
        return _NOTHING if self._tracer is None else self._step(self._tracer, name, attributes)

    @contextlib.contextmanager
    def _step(self, tracer: Tracer, name: str, attributes: Attributes) -> Iterator[None]:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        if not trace.get_current_span().get_span_context().is_valid:
            yield
            return

        span = tracer.start_span(name, attributes=attributes)

        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except Exception as error:
                # Not its text, which may quote a body.
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                span.end()
                raise

        span.end()

    def event(self, name: str, attributes: Attributes) -> None:
        """Add an event to the current span."""
        if self._tracer is not None:
            from opentelemetry import trace  # noqa: PLC0415 - an extra

            trace.get_current_span().add_event(name, attributes)

    def record(  # noqa: PLR0913 - one span, all of it named
        self,
        name: str,
        attributes: Attributes,
        *,
        parent: str | None,
        started_at: int,
        ended_at: int,
        failed: str | None = None,
        linked: str | None = None,
    ) -> None:
        """Add a span that is over, below this traceparent; without one there is no span.

        Times are in milliseconds since the epoch. `failed` says, safe to show, what went wrong. `linked` is the
        traceparent of somebody else's span: it is named, and not trusted to be part of this trace.
        """
        if self._tracer is None or parent is None or _TRACEPARENT.fullmatch(parent) is None:
            return

        from opentelemetry import trace  # noqa: PLC0415 - an extra

        span = self._tracer.start_span(
            name,
            context=_context_of(parent),
            attributes=attributes,
            links=[] if linked is None else [_link_to(linked)],
            start_time=started_at * 1_000_000,
        )

        if failed is not None:
            span.set_status(trace.StatusCode.ERROR, failed)

        span.end(ended_at * 1_000_000)

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        provider, self._provider, self._tracer = self._provider, None, None

        if provider is None:
            return

        loop = asyncio.get_running_loop()
        sent: asyncio.Future[None] = loop.create_future()

        def flush() -> None:
            provider.force_flush(int(_FLUSH * 1000))

            with contextlib.suppress(RuntimeError):  # the loop is closed: it took too long
                loop.call_soon_threadsafe(sent.cancel)

        threading.Thread(target=flush, name="last spans", daemon=True).start()
        await asyncio.wait((sent,), timeout=_FLUSH)


def _span_context(traceparent: str) -> Any:
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    _, trace_id, span_id, flags = traceparent.split("-")
    sampled = trace.TraceFlags(int(flags, 16) & _SAMPLED)

    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)


def _context_of(traceparent: str) -> Any:
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    return trace.set_span_in_context(trace.NonRecordingSpan(_span_context(traceparent)))


def _link_to(traceparent: str) -> Link:
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    return trace.Link(_span_context(traceparent))
