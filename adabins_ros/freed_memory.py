# SPDX-License-Identifier: Apache-2.0
"""What becomes of memory that is freed: kept for the next frame, or given back."""

from collections.abc import Iterator
import contextlib
import ctypes

# From malloc.h of glibc; 32 MB is the largest threshold that it accepts.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
USUAL_HEAP_BLOCK = 128 * 1024
LARGEST_HEAP_BLOCK = 32 * 1024 * 1024
LARGEST_HEAP_RESERVE = 512 * 1024 * 1024


def keep_freed_memory() -> None:
    """
    Let glibc keep the memory of one frame for the next instead of returning it to the kernel.

    Images and the network's activations are large blocks, which malloc maps and unmaps each time:
    10000 page faults a frame with adabins-lite on a CPU, 250 after this. Loading frames for
    training takes a quarter less time. Without glibc this does nothing.
    """
    _mallopt(M_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK)
    _mallopt(M_TRIM_THRESHOLD, LARGEST_HEAP_RESERVE)


@contextlib.contextmanager
def loading_apart() -> Iterator[None]:
    """
    Keep what is loaded meanwhile out of the memory that `keep_freed_memory` keeps.

    Otherwise a model that is loaded and one that is freed leave holes among the frames' blocks,
    which frames then fill: the node grows by a sixth with the first ten changes of its model.
    """
    _mallopt(M_MMAP_THRESHOLD, USUAL_HEAP_BLOCK)
    try:
        yield
    finally:
        keep_freed_memory()
        return_freed_memory()


def return_freed_memory() -> None:
    """Give what was freed back to the kernel, once: loading takes more memory than running."""
    malloc_trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if malloc_trim is not None:
        malloc_trim(0)


def _mallopt(option: int, value: int) -> None:
    """Set an option of malloc where it has them."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(option, value)
