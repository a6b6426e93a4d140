"""All advantages there are, found as subclasses of their contract."""

import importlib
import inspect
import pkgutil

from mapo import advantages
from mapo.advantages.base import Advantage


def family() -> tuple[type[Advantage], ...]:
    """Return every class of advantages that can be made of its defaults, in the order of class names.

    Those of this package are imported; those from elsewhere are found once they are. Nothing is registered.

    Example:
        >>> "ZScore" in [cls.__name__ for cls in family()]
        True
    """
    for found in pkgutil.iter_modules(advantages.__path__):
        importlib.import_module(f"{advantages.__name__}.{found.name}")
    classes = Advantage.__subclasses__()
    for known in classes:  # grows while it is read
        classes.extend(cls for cls in known.__subclasses__() if cls not in classes)
    usable = [cls for cls in classes if not inspect.isabstract(cls) and _needs_nothing(cls)]
    return tuple(sorted(usable, key=lambda cls: cls.__name__))


def _needs_nothing(cls: type[Advantage]) -> bool:
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(cls).parameters.values()
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)
