"""What the journal stores of promises and tasks: images of the records that a request changed, as JSON.

It stores images instead of requests. Reading images back needs neither the state machine nor the order across lineages,
so one lineage can be folded, archived or deleted without the others, and a later version of the state machine cannot
give old requests another meaning. The fixed part of a promise (its parameter, tags and times) is written once, when the
promise is created. Nothing here decides what has changed.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec
from resonate.connections.local import DurablePromise, ScheduleStub, Task, TaskState
from resonate.types import PromiseState  # noqa: TC002 - the decoder reads the annotations

CHECKSUM_BYTES: Final = 4

_NULL: Final = msgspec.Raw(b"null")


class NewPromise(msgspec.Struct, array_like=True, tag="P", frozen=True, gc=False):
    """A whole promise."""

    id: str
    state: PromiseState
    param: msgspec.Raw
    value: msgspec.Raw
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    settled_at: int | None
    awaiters: set[str]
    subscribers: set[str]


class ChangedPromise(msgspec.Struct, array_like=True, tag="p", frozen=True, gc=False):
    """The part of a promise that can change after its creation."""

    id: str
    state: PromiseState
    value: msgspec.Raw
    settled_at: int | None
    awaiters: set[str]
    subscribers: set[str]


class TaskImage(msgspec.Struct, array_like=True, tag="t", frozen=True, gc=False):
    """A whole task."""

    id: str
    state: TaskState
    version: int
    pid: str | None
    ttl: int | None
    resumes: set[str]


class ScheduleImage(msgspec.Struct, array_like=True, tag="s", frozen=True, gc=False):
    """A schedule, or None if it was deleted."""

    id: str
    schedule: ScheduleStub | None


type Image = NewPromise | ChangedPromise | TaskImage | ScheduleImage

_decoder: Final = msgspec.json.Decoder(list[NewPromise | ChangedPromise | TaskImage | ScheduleImage])
_splitter: Final = msgspec.json.Decoder(list[msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()


class ImageError(ValueError):
    """An image that this engine cannot have written."""


def packed(value: Any) -> msgspec.Raw | None:
    """Return a JSON value encoded, as one object that is sent and stored unchanged; return None for None."""
    if value is None or isinstance(value, msgspec.Raw):
        return value

    return msgspec.Raw(_encoder.encode(value))


def new_promise(promise: DurablePromise) -> NewPromise:
    """Return the image of a whole promise."""
    return NewPromise(
        promise.id,
        promise.state,
        promise.param if promise.param is not None else _NULL,
        promise.value if promise.value is not None else _NULL,
        promise.tags,
        promise.timeout_at,
        promise.created_at,
        promise.settled_at,
        promise.awaiters,
        promise.subscribers,
    )


def changed_promise(promise: DurablePromise) -> ChangedPromise:
    """Return the image of the part of a promise that changes."""
    return ChangedPromise(
        promise.id,
        promise.state,
        promise.value if promise.value is not None else _NULL,
        promise.settled_at,
        promise.awaiters,
        promise.subscribers,
    )


def task_image(task: Task) -> TaskImage:
    """Return the image of a task."""
    return TaskImage(task.id, task.state, task.version, task.pid, task.ttl, task.resumes)


def encode(images: list[Image]) -> bytes:
    """Return the images as bytes that begin with a checksum."""
    body = _encoder.encode(images)
    return zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "big") + body


def decode(data: bytes) -> list[NewPromise | ChangedPromise | TaskImage | ScheduleImage]:
    """Return the images that `encode` encoded.

    Raises:
        ImageError: these bytes are not what was written.
    """
    try:
        return _decoder.decode(_body(data))
    except msgspec.MsgspecError as error:
        raise ImageError("the record has a form that this version does not know") from error


def _body(data: bytes) -> bytes:
    body = data[CHECKSUM_BYTES:]

    if zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "big") != data[:CHECKSUM_BYTES]:
        raise ImageError("the checksum does not match")

    return body


def root_image(data: bytes, origin: str) -> DurablePromise | None:
    """Return the root of a lineage out of its encoded images, without decoding the others; None if it is not there.

    Raises:
        ImageError: these bytes are not what was written.
    """
    start = b'["P",' + _encoder.encode(origin) + b","

    try:
        for image in _splitter.decode(_body(data)):
            if bytes(memoryview(image)[: len(start)]) == start:
                return _promise(msgspec.json.decode(image, type=NewPromise))

    except msgspec.MsgspecError as error:
        raise ImageError("the record has a form that this version does not know") from error

    return None


class LineageImage:
    """The records of one lineage, brought up to date image by image."""

    __slots__ = ("promises", "schedules", "tasks")

    def __init__(self) -> None:
        self.promises: dict[str, DurablePromise] = {}
        self.tasks: dict[str, Task] = {}
        self.schedules: dict[str, ScheduleStub] = {}

    def apply(self, images: list[NewPromise | ChangedPromise | TaskImage | ScheduleImage]) -> None:
        """Bring the records up to date.

        Raises:
            ImageError: an image changes a promise that was never created.
        """
        for image in images:
            if isinstance(image, TaskImage):
                self.tasks[image.id] = Task(
                    id=image.id,
                    state=image.state,
                    version=image.version,
                    pid=image.pid,
                    ttl=image.ttl,
                    resumes=image.resumes,
                )
            elif isinstance(image, NewPromise):
                self.promises[image.id] = _promise(image)
            elif isinstance(image, ChangedPromise):
                self._change(image)
            elif image.schedule is None:
                self.schedules.pop(image.id, None)
            else:
                self.schedules[image.id] = image.schedule

    def _change(self, image: ChangedPromise) -> None:
        promise = self.promises.get(image.id)

        if promise is None:
            raise ImageError("a promise is changed before it was created")

        promise.state = image.state
        promise.value = _own(image.value)
        promise.settled_at = image.settled_at
        promise.awaiters = image.awaiters
        promise.subscribers = image.subscribers


def _promise(image: NewPromise) -> DurablePromise:
    return DurablePromise(
        id=image.id,
        state=image.state,
        param=_own(image.param),
        value=_own(image.value),
        tags=image.tags,
        timeout_at=image.timeout_at,
        created_at=image.created_at,
        settled_at=image.settled_at,
        awaiters=image.awaiters,
        subscribers=image.subscribers,
    )


def _own(value: msgspec.Raw) -> msgspec.Raw | None:
    """Return a copy of the value that does not keep the decoded buffer alive; None for JSON null."""
    return None if value == _NULL else value.copy()
