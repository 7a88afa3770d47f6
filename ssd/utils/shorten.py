"""Values from files in error messages."""

import reprlib

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 100
_repr.maxdict = _repr.maxlist = _repr.maxtuple = _repr.maxset = 20


def shorten(value: object) -> str:
    """Return the repr of ``value``, cut so that it fits a message however long or deep the value is."""
    return _repr.repr(value)
