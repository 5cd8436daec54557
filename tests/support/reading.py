"""A second parser of HTTP/1.1, strict, slow and easy to check by eye against RFC 9112: the reference for the tests.

It gets all bytes at once, has no limits, and shares nothing with the parser that is compared with it.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field

LETTERS = set(string.ascii_letters.encode())
DIGITS = set(string.digits.encode())
HEX = set(string.hexdigits.encode())
TOKEN = LETTERS | DIGITS | set(b"!#$%&'*+-.^_`|~")
TEXT = set(range(0x20, 0x7F)) | set(range(0x80, 0x100)) | {0x09}
TARGET = set(range(0x21, 0x7F)) - set(b"#")
METHOD = set(string.ascii_uppercase.encode()) | set(b"-")
HOST = LETTERS | DIGITS | set(b"-._~!$&'()*+;=%")


class Wrong(Exception):
    """These bytes are not a request."""


class Unfinished(Exception):
    """These bytes may become a request once more arrive."""


@dataclass
class Request:
    """A request; `arrived` is the part of an unfinished request's body that is there."""

    method: bytes
    path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


def read_all(data: bytes) -> tuple[list[Request], str]:
    """Return the complete requests in these bytes, and whether the rest is "wrong" or "unfinished"."""
    requests: list[Request] = []

    while True:
        try:
            request, data = read_one(data)
        except Wrong:
            return requests, "wrong"
        except Unfinished:
            return requests, "unfinished"

        requests.append(request)


def read_one(data: bytes) -> tuple[Request, bytes]:
    while data[:2] == b"\r\n":
        data = data[2:]

    if b"\r\n\r\n" not in data:
        raise Unfinished

    line, data = take_line(data)
    request = request_line(line)
    named: dict[bytes, list[bytes]] = {}

    while True:
        line, data = take_line(data)

        if not line:
            break

        name, value = header(line)
        named.setdefault(name, []).append(value)

        if name not in {b"upgrade", b"http2-settings"}:
            request.headers.append((name, value))

    hosts = named.get(b"host", [])
    must(len(hosts) == 1 or (not hosts and request.version == "1.0"))
    must(all(is_host(host) for host in hosts))

    if b"transfer-encoding" in named:
        must(request.version == "1.1")
        must(b"content-length" not in named)
        must([value.lower() for value in named[b"transfer-encoding"]] == [b"chunked"])
        request.body, data = chunked(data)
    elif b"content-length" in named:
        must(len(named[b"content-length"]) == 1)
        (value,) = named[b"content-length"]
        must(value and set(value) <= DIGITS)
        request.body, data = take(data, int(value))

    return request, data


def request_line(line: bytes) -> Request:
    words = line.split(b" ")
    must(len(words) == 3)
    method, target, version = words
    must(method and set(method) <= METHOD and method[:1] != b"-")
    must(method != b"CONNECT")
    must(target and set(target) <= TARGET)
    must(version in {b"HTTP/1.0", b"HTTP/1.1"})

    if target == b"*":
        must(method == b"OPTIONS")
        return Request(method, target, b"", version[5:].decode())

    for scheme in (b"http://", b"https://"):
        if target[: len(scheme)].lower() == scheme:
            rest = target[len(scheme) :]
            end = min(place for place in (rest.find(b"/"), rest.find(b"?"), len(rest)) if place >= 0)
            must(is_host(rest[:end]))
            target = rest[end:] if rest[end : end + 1] == b"/" else b"/" + rest[end:]
            break

    must(target[:1] == b"/")
    path, _, query = target.partition(b"?")
    return Request(method, path, query, version[5:].decode())


def header(line: bytes) -> tuple[bytes, bytes]:
    must(b":" in line)
    name, _, value = line.partition(b":")
    must(name and set(name) <= TOKEN)
    must(set(value) <= TEXT)
    return name.lower(), value.strip(b" \t")


def is_host(value: bytes) -> bool:
    if value.startswith(b"["):
        address, bracket, port = value[1:].partition(b"]")
        well = bool(bracket) and 2 <= len(address) <= 45 and set(address) <= HEX | set(b":.")
        return well and (not port or (port[:1] == b":" and is_port(port[1:])))

    name, _, port = value.partition(b":")
    escapes = name.split(b"%")[1:]
    well = bool(name) and set(name) <= HOST and all(len(one) >= 2 and set(one[:2]) <= HEX for one in escapes)
    return well and is_port(port)


def is_port(value: bytes) -> bool:
    return len(value) <= 5 and set(value) <= DIGITS


def chunked(data: bytes) -> tuple[bytes, bytes]:
    body = b""

    while True:
        line, data = take_line(data)
        size, _, extension = line.partition(b";")
        must(1 <= len(size) <= 16 and set(size) <= HEX)
        must(set(extension) <= TEXT)

        if int(size, 16) == 0:
            break

        part, data = take(data, int(size, 16))
        end, data = take(data, 2)
        must(end == b"\r\n")
        body += part

    while True:
        line, data = take_line(data)

        if not line:
            return body, data

        header(line)


def take_line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")

    if not end:
        raise Unfinished

    return line, rest


def take(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise Unfinished

    return data[:length], data[length:]


def must(holds: object) -> None:
    if not holds:
        raise Wrong
