"""Keeps out of the agent what its libraries load just in case, 18 MB together: TLS for asyncio, rich's tracebacks for
structlog, the database and the wireless half of pyroute2, guesses at character sets for the Docker SDK. To be imported
before anything that imports one of these."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec, module_from_spec
from types import ModuleType

import observe.lean  # noqa: F401


class _Opened(ModuleType):
    """A package whose modules can be imported one by one. Its own __init__, which imports them all, is run when it is
    asked for what only that makes."""

    def __getattr__(self, name: str) -> object:
        spec = self.__spec__
        if spec is None or spec.loader is None or name.startswith("__") or find_spec(f"{spec.name}.{name}"):
            raise AttributeError(name)  # an import then looks for the module of this name
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def _open(package: str) -> None:
    spec = find_spec(package)
    if spec is not None and package not in sys.modules:
        made = module_from_spec(spec)
        made.__class__ = _Opened
        sys.modules[package] = made


_open("pyroute2")
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
for guess in ("chardet", "charset_normalizer"):
    sys.modules.setdefault(guess, None)  # type: ignore[arg-type]
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
