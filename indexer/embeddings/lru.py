"""What was made before and may be asked for again, within a bound of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Made = TypeVar("Made")


@dataclass
class LruCache:
    """Things by name; beyond `most` bytes the one not asked for longest goes, the newest never.

    Attributes:
        size: how many bytes a thing takes.
    """

    most: int
    size: Callable[[Any], int]
    _held: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, name: Hashable, make: Callable[[], Made]) -> Made:
        """Return the thing of a name, made where it is not held."""
        held: Made | None = self.find(name)
        return self.put(name, make()) if held is None else held

    def find(self, name: Hashable) -> Any | None:
        """Return the thing of a name, if it is held."""
        if name in self._held:
            self._held.move_to_end(name)
        return self._held.get(name)

    def put(self, name: Hashable, thing: Made) -> Made:
        """Hold a thing that is not held yet, and return it."""
        self._held[name] = thing
        self._bytes += self.size(thing)
        while self._bytes > self.most and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._bytes -= self.size(gone)
        return thing
