"""What a process may take of its machine: memory and cores."""

from contextlib import suppress
from pathlib import Path

import psutil

# Linux's file on the control groups of a process, and the folders of versions 1 and 2 of these.
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = {
    "memory": (
        (Path("/sys/fs/cgroup/memory"),),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ),
    "": (
        (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")),
        ("memory.max", "memory.current"),
    ),
}


def free_memory():
    """Return how many bytes this process may still take.

    That is what the machine has, or less if a control group limits it, as in a container (`docker
    run --memory`) or a job of a queue (`sbatch --mem`), whose processes are killed beyond it.
    """
    return max(0, min([psutil.virtual_memory().available, *_left_by_groups()]))


def _left_by_groups():
    """Yield the bytes left by each control group of this process and by those around it."""
    for folder, limit, usage in _control_groups():
        with suppress(OSError, ValueError):  # no such file, or "max" in it
            most, used = int((folder / limit).read_text(encoding="utf-8")), 0
            with suppress(OSError, ValueError):
                used = int((folder / usage).read_text(encoding="utf-8")) - _file_cache(folder)
            yield most - max(0, used)


def _control_groups():
    """Yield the folders of the control groups that may limit memory, and their two files."""
    own = {kind: {"/"} for kind in GROUPS}
    with suppress(OSError):
        for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            for kind in own.keys() & kinds.split(","):
                own[kind] |= {path, *map(str, Path(path).parents)}
    for kind, (roots, files) in GROUPS.items():
        for root in roots:
            for path in sorted(own[kind]):
                yield root / path.lstrip("/"), *files


def _file_cache(folder):
    """Return the bytes of a control group's file cache, which the system frees when needed."""
    cached = {}
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            cached[name] = int(value)
    # Version 1 has separate names for totals that include the groups within.
    names = [(f"total_{name}", name) for name in ("inactive_file", "active_file")]
    return sum(cached.get(total, cached.get(own, 0)) for total, own in names)


def usable_cores():
    """Return how many cores this process may use, by its affinity and its control group."""
    from joblib import cpu_count

    return cpu_count()


def check_memory(size):
    """Raise ValueError unless a number of bytes is free."""
    if size > (free := free_memory()):
        raise ValueError(
            f"it needs {size / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free"
        )
