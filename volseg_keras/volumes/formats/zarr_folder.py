"""A Zarr folder whose files are checked before they are read."""

import os

from zarr.storage import LocalStore

LARGEST_METADATA = 2**24


class FolderStore(LocalStore):
    """A folder whose files are checked before they are read.

    Attributes:
        largest: most bytes of a file; a larger one would be larger than its voxels, as a bomb is.
    """

    largest = LARGEST_METADATA

    def check(self, key):
        """Raise ValueError for a link that leads out of the folder, and for too large a file."""
        file, root = os.path.realpath(os.path.join(self.root, key)), os.path.realpath(self.root)
        if os.path.commonpath([root, file]) != root:
            raise ValueError(f"{key} points outside the folder")
        if os.path.isfile(file) and os.path.getsize(file) > self.largest:
            raise ValueError(f"{key} has more than {self.largest} bytes, so that it is damaged")

    async def get(self, key, *args, **options):
        """Read a file."""
        self.check(key)
        return await super().get(key, *args, **options)

    def get_sync(self, key, **options):
        """Read a file."""
        self.check(key)
        return super().get_sync(key, **options)

    async def get_partial_values(self, prototype, key_ranges):
        """Read parts of files."""
        ranges = list(key_ranges)
        for key, _ in ranges:
            self.check(key)
        return await super().get_partial_values(prototype, ranges)
