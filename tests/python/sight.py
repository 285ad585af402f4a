"""What must be seen nowhere, and all the places where a program's reports look."""

from __future__ import annotations

import base64
import gc
import re
import traceback
import urllib.parse
from pathlib import Path

import pytest

import layerfi_auth

PACKAGE = str(Path(layerfi_auth.__file__).parent)

# Any token of the emulator's, and any header, whoever they belong to.
ANY = [
    ("token", re.compile(r"eyJ[\w-]{6}")),
    ("Basic header", re.compile(r"Basic\s+[A-Za-z0-9+/]{8}")),
    # Servers in the table say so wherever a careless client would repeat them.
    ("canary", re.compile("canary", re.IGNORECASE)),
]


class Secrets:
    """What must not be seen, and the forms by which it would be known."""

    def __init__(self, *, general=True):
        self._forms = list(ANY) if general else []

    def add(self, what, secret):
        forms = [secret, urllib.parse.quote_plus(secret), urllib.parse.quote(secret)]
        raw = secret.encode()
        # As a careless `Debug` shows bytes.
        forms.append(str(list(raw[-12:])).strip("[]"))
        if len(secret) >= 24:
            # A cut token is a token all the same; of a JWT, the head says nothing.
            forms += [secret[-24:], secret[len(secret) // 2 :][:12]]
        for form in forms:
            # Two or three letters are in every path and every address.
            if len(form) >= 5:
                self._forms.append((what, re.compile(re.escape(form))))

    def add_credentials(self, client_id, secret):
        self.add("client secret", secret)
        quote = urllib.parse.quote_plus
        for pair in (f"{client_id}:{secret}", f"{quote(client_id)}:{quote(secret)}"):
            self.add("Basic header", base64.b64encode(pair.encode()).decode())

    def seen_in(self, text):
        """Return what is seen in a text, or `None`. Never show the text where it is not."""
        return next((what for what, form in self._forms if form.search(text)), None)

    def check(self, place, text):
        what = self.seen_in(text)
        if what is not None:
            # Without this frame's variables, which have it.
            del text
            pytest.fail(f"{place} shows the {what}", pytrace=False)


def is_ours(thing):
    return (type(thing).__module__ or "").startswith("layerfi_auth")


def plainly(thing):
    try:
        return repr(thing)
    except Exception:  # noqa: BLE001  # Half made, and looked at in its `__init__`.
        return f"<{type(thing).__name__}>"


def closely(thing):
    """Show a thing as a report of variables does, and one of ours to its bottom."""
    shown = [thing]
    if is_ours(thing):
        shown.append(getattr(thing, "__dict__", None))
        for cls in type(thing).__mro__:
            slots = getattr(cls, "__slots__", ())
            shown += [getattr(thing, name, None) for name in slots]
        shown += gc.get_referents(thing)
    return " ".join(map(plainly, shown))


def chain(error):
    """The exception, and those behind it."""
    seen = []
    todo = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return seen


def frames(error, *, but=""):
    """The frames of its tracebacks, without those of one file: the test's own variables."""
    for one in chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != but:
                yield frame


def of_frame(frame):
    return " ".join(f"{name}={closely(value)}" for name, value in frame.f_locals.items())


def of_exception(error):
    """All that an exception itself shows, with whatever is behind it."""
    return " ".join(
        f"{one} {one!r} {one.args} {vars(one)} {getattr(one, '__notes__', '')} {closely(one)}"
        for one in chain(error)
    )


def with_variables(error, *, but=""):
    """The tracebacks as pytest's `--showlocals` and its like print them."""
    shown = []
    for one in chain(error):
        report = traceback.TracebackException.from_exception(one, capture_locals=True)
        stack = [frame for frame in report.stack if frame.filename != but]
        report.stack = traceback.StackSummary.from_list(stack)
        shown += report.format(chain=False)
    return "".join(shown)
