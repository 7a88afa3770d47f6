"""Dictionary of named factories, filled by decorators."""

import difflib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from ssd.utils.errors import ConfigError

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry(dict[str, Callable[..., Any]]):
    """Map from the name in a config to a factory.

    An entry "family/*" serves every name that begins with "family/" and has no entry of its own; its factory reads the
    name in the config. ``kind`` is the noun for an entry in messages, such as "backbone". ``modules`` are names of
    modules that register entries; they are imported one by one when a name is not found.
    """

    def __init__(self, kind: str, modules: Sequence[str] = ()):
        super().__init__()
        self.kind = kind
        self.modules = list(modules)

    def register(self, name: str, factory: Factory | None = None) -> Any:
        """Add ``factory`` under ``name``, or return a decorator that does; raise ValueError if the name is taken."""
        if factory is None:
            return lambda decorated: self.register(name, decorated)
        if name in self:
            raise ValueError(f"{self.kind} {name!r} is registered already, by {self[name]!r}")
        self[name] = factory
        return factory

    def __missing__(self, name: str) -> Callable[..., Any]:
        if self.modules:
            import_module(self.modules.pop(0))
            return self[name]
        family, _, member = str(name).partition("/")
        if member and f"{family}/*" in self:
            return self[f"{family}/*"]
        close = difflib.get_close_matches(str(name), self, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "its module must be imported first."
        raise ConfigError(f"unknown {self.kind} {name!r}: {hint} Registered: {', '.join(sorted(self))}")
