# SPDX-License-Identifier: Apache-2.0
"""dm-snapshot stores and disk images, by libsnaptool.

    with snaptool.open("origin.img@snap.cow") as image:
        first = image.read(0, 4096)
        for extent in image.extents():
            print(extent.offset, extent.length, extent.zero, extent.depth)

    snaptool.merge("origin.img@snap.cow", progress=lambda what, done, total: print(what, done, total))

Options are keywords, by the names that `options()` lists, with '_' for '-': `format="raw"`, `follow_parents="folder"`.
A bool stands for "true" or "false"; a list sets an option once for each of its items.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple, Union

from . import _interface
from ._interface import CODES, SEVERITIES, library

__all__ = ["CODES", "SEVERITIES", "Error", "Extent", "Finding", "Image", "Option", "Warning", "create", "merge", "open",
           "options", "verify", "version"]

Value = Union[str, int, bool, list[str]]
Progress = Callable[[str, int, int], object]


class Error(OSError):
    """What a call that failed raises. `code` is the exit status that snaptool would have had, `errno` may be 0."""

    def __init__(self, text: str, code: int, number: int) -> None:
        super().__init__(number, text)
        self.code = code

    @property
    def name(self) -> str:
        """The code by its name: "busy", "damaged"."""
        return CODES.get(self.code, "failed")

    def __str__(self) -> str:
        return str(self.strerror)


class Warning(UserWarning):
    """Something looks like a mistake, and need not be one."""


class Extent(NamedTuple):
    """A range of an image, in bytes. `depth`: how many layers lie above the one that it comes from."""

    offset: int
    length: int
    zero: bool
    depth: int


class Finding(NamedTuple):
    """What `verify` found. `severity` is one of SEVERITIES' names."""

    severity: str
    code: str
    text: str


class Option(NamedTuple):
    """An option, and the calls that take it."""

    name: str
    calls: list[str]
    help: str


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: object) -> bytes:
    raw = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError("embedded null byte")
    return raw


def _error() -> Error:
    return Error(_text(library.snap_get_error()), library.snap_get_code(), library.snap_get_errno())


def _checked(result: int) -> int:
    if result < 0:
        raise _error()
    return result


class _Callback:
    """A function as one of C: what it raises stops the call, and is raised again by `finish`."""

    def __init__(self, kind: type, function: Callable[..., int]) -> None:
        self._raised: BaseException | None = None
        self._function = function
        self.c = kind(self._call)

    def _call(self, _user: object, *arguments: object) -> int:
        if self._raised is not None:
            return -1
        try:
            return self._function(*arguments)
        except BaseException as error:  # KeyboardInterrupt, too
            self._raised = error
            return -1

    def finish(self, result: int) -> int:
        if self._raised is not None:
            raise self._raised
        return _checked(result)


class _Options:
    """The options of a call; `finish` hands over the warnings that came."""

    def __init__(self, given: dict[str, Value]) -> None:
        self._warnings: list[str] = []
        self._handler = _interface.snap_warning(lambda _user, text: self._warnings.append(_text(text)))
        self.c = library.snap_options_create()
        if not self.c:
            raise _error()
        _checked(library.snap_options_on_warning(self.c, self._handler, None))
        for name, value in given.items():
            for one in value if isinstance(value, list) else [value]:
                word = str(one).lower() if isinstance(one, bool) else one
                _checked(library.snap_options_set(self.c, _raw(name.replace("_", "-")), _raw(word)))

    def warn(self) -> None:
        level, frame = 1, sys._getframe()
        while frame.f_back and frame.f_code.co_filename == __file__:  # to the caller of this module
            level, frame = level + 1, frame.f_back
        while self._warnings:
            warnings.warn(self._warnings.pop(0), Warning, stacklevel=level)

    def __del__(self) -> None:
        if getattr(self, "c", None):
            library.snap_options_free(self.c)


class Image:
    """An open image. Several threads may use it at once; `close` waits for what they are at."""

    def __init__(self, name: str, options: dict[str, Value]) -> None:
        self.name = name
        self._handle: int | None = None
        self._users = 0
        self._unused = threading.Condition()
        self._options = _Options(options)
        self._handle = library.snap_image_open(_raw(name), self._options.c)
        failed = None if self._handle else _error()
        self._options.warn()
        if failed:
            raise failed

    def _use(self, call: Callable[..., int], *arguments: object) -> int:
        with self._unused:
            if self._handle is None:
                raise ValueError(f"the image is closed: {self.name}")
            handle = self._handle
            self._users += 1
        try:
            result = call(handle, *arguments)
            failed = _error() if result < 0 else None
        finally:
            with self._unused:
                self._users -= 1
                self._unused.notify_all()
        self._options.warn()
        if failed:
            raise failed
        return result

    @property
    def size(self) -> int:
        """Bytes."""
        return self._use(library.snap_image_size)

    @property
    def writable(self) -> bool:
        """Whether it was opened to be written to."""
        return self._use(library.snap_image_is_writable) == 1

    @property
    def closed(self) -> bool:
        return self._handle is None

    def readinto(self, offset: int, buffer: bytearray | memoryview) -> None:
        """Fills `buffer` from byte `offset`: all of it, or it fails."""
        view = memoryview(buffer).cast("B")
        _check_range(offset, len(view))
        place = (ctypes.c_char * len(view)).from_buffer(view) if len(view) else (ctypes.c_char * 1)()
        self._use(library.snap_image_read, ctypes.addressof(place), len(view), offset)

    def read(self, offset: int, length: int) -> bytes:
        """The `length` bytes from byte `offset`."""
        _check_range(offset, length)
        if offset + length > self.size:
            raise ValueError(f"{length} bytes from byte {offset} on pass the end of the image")
        buffer = bytearray(length)
        self.readinto(offset, buffer)
        return bytes(buffer)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """The extents of a range, in order and without a gap."""
        most = 1024
        _check_range(offset, length or 0)
        end = self.size if length is None else offset + length
        while offset < end:
            found: list[Extent] = []

            def each(at: int, count: int, zero: int, depth: int, found: list[Extent] = found) -> int:
                found.append(Extent(at, count, bool(zero), depth))
                return 1 if len(found) == most else 0

            callback = _Callback(_interface.snap_extent, each)
            callback.finish(self._use(library.snap_image_map, offset, end - offset, callback.c, None))
            yield from found
            offset = found[-1].offset + found[-1].length

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Writes to the snapshot; `flush` makes it durable."""
        raw = bytes(data)
        _check_range(offset, len(raw))
        self._use(library.snap_image_write, raw, len(raw), offset)

    def trim(self, offset: int, length: int) -> None:
        """Discards a range, as the kernel does."""
        _check_range(offset, length)
        self._use(library.snap_image_trim, offset, length)

    def flush(self) -> None:
        """Makes durable what was written."""
        self._use(library.snap_image_flush)

    def close(self) -> None:
        """Closes it; raises Error where what was written is not known to be durable."""
        with self._unused:
            handle, self._handle = self._handle, None
            while self._users:
                self._unused.wait()
        if handle is not None:
            _checked(library.snap_image_close(handle))

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            warnings.warn(f"the image was not closed: {self.name}", ResourceWarning, source=self, stacklevel=2)
            library.snap_image_close(self._handle)


def _check_range(offset: int, length: int) -> None:
    """ctypes would cut off what does not fit."""
    if offset < 0 or length < 0 or offset + length >= 1 << 63:
        raise ValueError("an offset and a length are numbers from 0 to 2^63 - 1")


def open(name: str, **options: Value) -> Image:
    """Opens an image by its name, as the command line has it; with write=True, ORIGIN@COW to write to COW."""
    return Image(name, options)


def create(origin: str, cow: str, **options: Value) -> None:
    """Makes an empty store for a snapshot of an origin."""
    chosen = _Options(options)
    result = library.snap_create(_raw(origin), _raw(cow), chosen.c)
    failed = _error() if result < 0 else None
    chosen.warn()
    if failed:
        raise failed


def _progress(function: Progress | None) -> _Callback | None:
    if function is None:
        return None

    def each(what: bytes, done: int, total: int) -> int:
        return -1 if function(_text(what), done, total) is False else 0

    return _Callback(_interface.snap_progress, each)


def verify(name: str, progress: Progress | None = None, **options: Value) -> tuple[str, list[Finding]]:
    """Checks a store (COW or ORIGIN@COW), or the sums that an image has of itself: the worst severity, and all findings."""
    found: list[Finding] = []

    def each(severity: int, code: bytes, text: bytes) -> int:
        found.append(Finding(SEVERITIES[severity], _text(code), _text(text)))
        return 0

    chosen = _Options(options)
    told, finding = _progress(progress), _Callback(_interface.snap_finding, each)
    worst = library.snap_verify(_raw(name), chosen.c, finding.c, told.c if told else _interface.snap_progress(), None)
    failed = _error() if worst < 0 else None
    chosen.warn()
    for callback in (told, finding):
        if callback:
            callback.finish(0)
    if failed:
        raise failed
    return SEVERITIES[worst], found


def merge(name: str, progress: Progress | None = None, **options: Value) -> None:
    """Makes the origin of ORIGIN@COW equal to the view. `progress` gets (what, done, total); False or an exception stops it.

    Stopped at any instant, both together still show the same view, and the same call goes on.
    """
    chosen = _Options(options)
    told = _progress(progress)
    result = library.snap_merge(_raw(name), chosen.c, told.c if told else _interface.snap_progress(), None)
    failed = _error() if result < 0 else None
    chosen.warn()
    if told:
        told.finish(0)
    if failed:
        raise failed


def options() -> list[Option]:
    """All options that there are."""
    rows: list[Option] = []

    def each(name: bytes, calls: bytes, text: bytes) -> int:
        rows.append(Option(_text(name), _text(calls).split(), _text(text)))
        return 0

    callback = _Callback(_interface.snap_option, each)
    callback.finish(library.snap_options_list(callback.c, None))
    return rows


def version() -> str:
    """Of the library."""
    return _text(library.snap_version())
