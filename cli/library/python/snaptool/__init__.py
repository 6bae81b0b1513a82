# SPDX-License-Identifier: Apache-2.0
"""dm-snapshot stores and disk images, by libsnaptool.

    with snaptool.open("origin.img@snap.cow") as image:
        first = image.read(0, 4096)
        for extent in image.extents():
            print(extent.offset, extent.length, extent.zero, extent.depth)

    snaptool.merge("origin.img@snap.cow", progress=lambda what, done, total: print(what, done, total))

Options are keywords, by the names that `options()` lists, with '_' for '-': `format="raw"`, `follow_parents="folder"`.
A bool stands for "true" or "false"; a list sets an option once for each of its items; None leaves it unset.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple, Union

from . import _interface
from ._interface import CODES, SEVERITIES, library

__all__ = ["CODES", "SEVERITIES", "Error", "Extent", "Finding", "Image", "Option", "Warning", "create", "merge", "open",
           "options", "verify", "version"]

Name = Union[str, bytes, "os.PathLike[str]"]
Value = Union[Name, int, bool, None, "list[Name]", "tuple[Name, ...]"]
Progress = Callable[[str, int, int], object]


class Error(OSError):
    """What a call that failed raises. `code` is the exit status that snaptool would have had, `errno` may be 0."""

    def __init__(self, text: str, code: int, number: int) -> None:
        super().__init__(number, text)
        self.code = code

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), (str(self), self.code, self.errno or 0)

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


def _name(name: Name) -> bytes:
    raw = os.fsencode(name)
    if b"\0" in raw:
        raise ValueError("embedded null byte")
    return raw


def _word(value: object) -> bytes:
    """The text of an option."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode() if isinstance(value, int) else _name(value)  # type: ignore[arg-type]


def _error() -> Error:
    return Error(_text(library.snap_get_error()), library.snap_get_code(), library.snap_get_errno())


def _checked(result: int) -> int:
    if result < 0:
        raise _error()
    return result


class _Callback:
    """A function as one of C, for one call. What it raises stops the call, and is raised again after it.

    A signal's handler runs when Python is entered anew: before the first line of a callback, whence ctypes would lose what
    it raises (KeyboardInterrupt). That is got from the hook that ctypes tells of it.
    """

    def __init__(self, kind: type, function: Callable[..., int]) -> None:
        self.raised: list[BaseException] = []
        raised = self.raised

        def call(_user: object, *arguments: object) -> int:
            if raised:
                return -1
            try:
                return function(*arguments)
            except BaseException as error:
                raised.append(error)
                return -1

        self._call = call
        self.c = kind(call)

    def __enter__(self) -> _Callback:
        self._hook = None
        if threading.current_thread() is threading.main_thread():  # nobody else gets signals
            self._hook = sys.unraisablehook
            sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            sys.unraisablehook = self._hook

    def _unraisable(self, lost: object) -> None:
        error = getattr(lost, "exc_value", None)
        told_of = getattr(lost, "object", None)
        mine = told_of is self._call or (told_of is None and "ctypes callback" in str(getattr(lost, "err_msg", "")))
        if mine and error is not None:
            self.raised.append(error)
        elif self._hook is not None:
            self._hook(lost)  # type: ignore[arg-type]


class _Options:
    """The options of a call, and the warnings that came."""

    def __init__(self, given: dict[str, Value]) -> None:
        waiting: list[str] = []
        self._waiting = waiting
        self._handler = _interface.snap_warning(lambda _user, text: waiting.append(_text(text)))
        self.c = library.snap_options_create()
        if not self.c:
            raise _error()
        _checked(library.snap_options_on_warning(self.c, self._handler, None))
        for name, value in given.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one is not None:
                    _checked(library.snap_options_set(self.c, _name(name.replace("_", "-")), _word(one)))

    def warn(self) -> None:
        level, frame = 1, sys._getframe()
        while frame.f_back and frame.f_code.co_filename == __file__:  # to the caller of this module
            level, frame = level + 1, frame.f_back
        taken = []
        with contextlib.suppress(IndexError):  # another thread may take some
            while True:
                taken.append(self._waiting.pop(0))
        for text in taken:
            warnings.warn(text, Warning, stacklevel=level)

    def __del__(self) -> None:
        if getattr(self, "c", None):
            library.snap_options_free(self.c)


def _made(call: Callable[..., int], arguments: list[object], options: _Options, *callbacks: _Callback) -> int:
    """Makes a call. What a callback raised comes first, then the error, then what was warned of."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            stack.enter_context(callback)
        result = call(*arguments)
        failed = _error() if result is None or result < 0 else None
    raised = [callback.raised[0] for callback in callbacks if callback.raised] + ([failed] if failed else [])
    if not raised:
        options.warn()
        return result
    with contextlib.suppress(Warning):  # it is not to take the place of the error
        options.warn()
    raise raised[0]


class Image:
    """An open image. Several threads may use it at once; `close` waits for what they are at.

    After a fork it belongs to the process that opened it.
    """

    def __init__(self, name: Name, options: dict[str, Value]) -> None:
        self.name = os.fsdecode(name)
        self._handle: int | None = None
        self._closing = False
        self._users = 0
        self._unused = threading.Condition()
        self._options = _Options(options)
        self._handle = library.snap_image_open(_name(name), self._options.c)
        if not self._handle:
            raise _error()
        self._options.warn()

    def _use(self, call: Callable[..., int], *arguments: object, callback: _Callback | None = None) -> int:
        counted = False
        try:
            with self._unused:
                if self._handle is None or self._closing:
                    raise ValueError(f"the image is closed: {self.name}")
                self._users += 1
                counted = True
            return _made(call, [self._handle, *arguments], self._options, *([callback] if callback else []))
        finally:
            if counted:
                with self._unused:
                    self._users -= 1
                    self._unused.notify_all()

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
            self._use(library.snap_image_map, offset, end - offset, callback.c, None, callback=callback)
            yield from found
            offset = found[-1].offset + found[-1].length

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Writes to the snapshot; `flush` makes it durable."""
        raw = bytes(memoryview(data))
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
        """Flushes and closes it; raises Error where what was written is not known to be durable."""
        with self._unused:
            self._closing = True
            try:
                while self._users:
                    self._unused.wait()
            except BaseException:  # it is still open
                self._closing = False
                raise
            handle, self._handle = self._handle, None
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


def open(name: Name, **options: Value) -> Image:
    """Opens an image by its name, as the command line has it; with write=True, ORIGIN@COW to write to COW."""
    return Image(name, options)


def create(origin: Name, cow: Name, **options: Value) -> None:
    """Makes an empty store for a snapshot of an origin."""
    chosen = _Options(options)
    _made(library.snap_create, [_name(origin), _name(cow), chosen.c], chosen)


def _progress(function: Progress | None) -> _Callback:
    """Also where nobody wants to know: it is where Ctrl-C ends a call."""

    def each(what: bytes, done: int, total: int) -> int:
        return -1 if function is not None and function(_text(what), done, total) is False else 0

    return _Callback(_interface.snap_progress, each)


def verify(name: Name, progress: Progress | None = None, **options: Value) -> tuple[str, list[Finding]]:
    """Checks a store (COW or ORIGIN@COW), or the sums that an image has of itself: the worst severity, and all findings."""
    found: list[Finding] = []

    def each(severity: int, code: bytes, text: bytes) -> int:
        found.append(Finding(SEVERITIES[severity], _text(code), _text(text)))
        return 0

    chosen = _Options(options)
    told, finding = _progress(progress), _Callback(_interface.snap_finding, each)
    worst = _made(library.snap_verify, [_name(name), chosen.c, finding.c, told.c, None], chosen, told, finding)
    return SEVERITIES[worst], found


def merge(name: Name, progress: Progress | None = None, **options: Value) -> None:
    """Makes the origin of ORIGIN@COW equal to the view. `progress` gets (what, done, total); False or an exception stops it.

    Stopped at any instant, both together still show the same view, and the same call goes on.
    """
    chosen = _Options(options)
    told = _progress(progress)
    _made(library.snap_merge, [_name(name), chosen.c, told.c, None], chosen, told)


def options() -> list[Option]:
    """All options that there are."""
    rows: list[Option] = []

    def each(name: bytes, calls: bytes, text: bytes) -> int:
        rows.append(Option(_text(name), _text(calls).split(), _text(text)))
        return 0

    callback = _Callback(_interface.snap_option, each)
    _made(library.snap_options_list, [callback.c, None], _Options({}), callback)
    return rows


def version() -> str:
    """Of the library."""
    return _text(library.snap_version())
