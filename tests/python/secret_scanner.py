"""Scanner for secrets and tokens in texts, exceptions, tracebacks and frames."""

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

# Any token of the emulator and any Basic header.
GENERAL = [
    ("token", re.compile(r"eyJ[\w-]{6}")),
    ("Basic header", re.compile(r"Basic\s+[A-Za-z0-9+/]{8}")),
    # The table's servers use this word where a careless client would repeat it.
    ("canary", re.compile("canary", re.IGNORECASE)),
]


class Secrets:
    """Secrets to look for, each in all its forms."""

    def __init__(self, *, general=True):
        self._forms = list(GENERAL) if general else []

    def add(self, what, secret):
        forms = [secret, urllib.parse.quote_plus(secret), urllib.parse.quote(secret)]
        raw = secret.encode()
        # As Rust's `Debug` shows bytes.
        forms.append(str(list(raw[-12:])).strip("[]"))
        if len(secret) >= 24:
            # Parts of a token count too, except for the header of a JWT.
            forms += [secret[-24:], secret[len(secret) // 2 :][:12]]
        for form in forms:
            # Short texts occur by chance.
            if len(form) >= 5:
                self._forms.append((what, re.compile(re.escape(form))))

    def add_credentials(self, client_id, secret):
        self.add("client secret", secret)
        quote = urllib.parse.quote_plus
        for pair in (f"{client_id}:{secret}", f"{quote(client_id)}:{quote(secret)}"):
            self.add("Basic header", base64.b64encode(pair.encode()).decode())

    def found_in(self, text):
        """Return which secret a text contains, or `None`."""
        return next((what for what, form in self._forms if form.search(text)), None)

    def check(self, place, text):
        what = self.found_in(text)
        if what is not None:
            # pytest would show this frame's variables.
            del text
            pytest.fail(f"{place} shows the {what}", pytrace=False)


def is_of_the_package(thing):
    return (type(thing).__module__ or "").startswith("layerfi_auth")


def safe_repr(thing):
    try:
        return repr(thing)
    except Exception:  # noqa: BLE001  # Its `__init__` may not have run yet.
        return f"<{type(thing).__name__}>"


def deep_repr(thing):
    """The repr of an object; for the package's objects also of all attributes."""
    shown = [thing]
    if is_of_the_package(thing):
        shown.append(getattr(thing, "__dict__", None))
        for cls in type(thing).__mro__:
            slots = getattr(cls, "__slots__", ())
            shown += [getattr(thing, name, None) for name in slots]
        shown += gc.get_referents(thing)
    return " ".join(map(safe_repr, shown))


def chain(error):
    """The exception with its causes and contexts."""
    seen = []
    todo = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return seen


def frames(error, *, skip=""):
    """The frames of an exception's tracebacks, except those of the file `skip`."""
    for one in chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != skip:
                yield frame


def variables_of(frame):
    return " ".join(f"{name}={deep_repr(value)}" for name, value in frame.f_locals.items())


def of_exception(error):
    """All texts of an exception and its causes."""
    return " ".join(
        f"{one} {one!r} {one.args} {vars(one)} {getattr(one, '__notes__', '')} {deep_repr(one)}"
        for one in chain(error)
    )


def with_variables(error, *, skip=""):
    """The tracebacks with variables, as pytest's `--showlocals` prints them."""
    shown = []
    for one in chain(error):
        report = traceback.TracebackException.from_exception(one, capture_locals=True)
        stack = [frame for frame in report.stack if frame.filename != skip]
        report.stack = traceback.StackSummary.from_list(stack)
        shown += report.format(chain=False)
    return "".join(shown)
