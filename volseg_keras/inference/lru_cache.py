"""A cache of the values used most recently."""

from collections import OrderedDict
from threading import RLock


class LruCache:
    """A cache of values by their keys, which keeps the ones used most recently.

    Threads can share it: one of them makes a value, and the others wait for it.

    Args:
        size: most values that are kept.
    """

    def __init__(self, size):
        self._size, self._values, self._lock = size, OrderedDict(), RLock()

    def get(self, key, make):
        """Return the value of a key, made by `make()` unless it is kept."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
            return self._values[key]

    def items(self):
        """Return the pairs of keys and values, the one used last at the end."""
        with self._lock:
            return list(self._values.items())

    def clear(self):
        """Forget all values."""
        with self._lock:
            self._values.clear()

    def abandon(self):
        """Start empty in a forked process, in which the threads of the values do not exist.

        The values are not deleted, since some would wait for those threads.
        """
        self._abandoned = self._values
        self._values, self._lock = OrderedDict(), RLock()
