"""Parameters of an estimator as scikit-learn asks for them: `get_params`, `set_params`, `clone`, without needing it."""

from __future__ import annotations

import inspect
from typing import Any, Self

from transferability.errors import OptionError, nearest_names

__all__ = ["Parameters"]


class Parameters:
    """An object whose attributes are the arguments of its `__init__`."""

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        arguments = inspect.signature(cls).parameters.values()
        return {each.name: each.default for each in arguments}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments that make an equal object; `deep` has no effect."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Set some of the arguments, checked as `__init__` checks them; return the object itself.

        Raises
        ------
        OptionError
            If there is no argument of a name, or for a value that `__init__` refuses.
        """
        known = self._parameters()
        for name in params:
            if name not in known:
                message = f"there is no parameter {name!r}. {nearest_names(name, known)}"
                raise OptionError(message)
        vars(self).update(vars(type(self)(**(self.get_params() | params))))
        return self

    def __sklearn_clone__(self) -> Self:
        return type(self)(**self.get_params())

    def __repr__(self) -> str:
        defaults = vars(type(self)())
        changed = {name: value for name, value in self.get_params().items() if repr(value) != repr(defaults.get(name))}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"
