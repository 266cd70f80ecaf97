"""What was made last is kept, so that it need not be made again."""

from collections import OrderedDict
from threading import RLock


class Recent:
    """Values by their keys, of which the ones used last are kept.

    Threads may share it: a value is made by one of them, and the others wait for it.

    Args:
        size: most values that are kept.
    """

    def __init__(self, size):
        self._size, self._values, self._lock = size, OrderedDict(), RLock()

    def get(self, key, make):
        """Return the value of a key, made by `make()` where none is kept."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
            return self._values[key]

    def items(self):
        """Return the pairs of keys and values that are kept, the one used last at the end."""
        with self._lock:
            return list(self._values.items())

    def clear(self):
        """Forget all values."""
        with self._lock:
            self._values.clear()

    def abandon(self):
        """Start empty in a process that was forked, where threads of the values are missing.

        They are not deleted, since some would wait for those threads.
        """
        self._abandoned = self._values
        self._values, self._lock = OrderedDict(), RLock()
