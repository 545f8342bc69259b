"""A least-recently-used cache that is bounded by bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Value = TypeVar("Value")


@dataclass
class LruCache:
    """Values by key; beyond a bound the value that was not used for longest goes, but never the newest.

    So a value larger than the bound can still be used again and again, which cachetools.LRUCache refuses.

    Attributes:
        most: bytes of all values together.
        size: how many bytes a value takes.
    """

    most: int
    size: Callable[[Any], int]
    _values: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made where it is not held."""
        value: Value | None = self.find(key)
        return self.put(key, make()) if value is None else value

    def find(self, key: Hashable) -> Any | None:
        """Return the value of a key; None where it is not held."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> Value:
        """Hold a value that is not held yet, and return it."""
        self._values[key] = value
        self._bytes += self.size(value)
        while self._bytes > self.most and len(self._values) > 1:
            _, dropped = self._values.popitem(last=False)
            self._bytes -= self.size(dropped)
        return value
