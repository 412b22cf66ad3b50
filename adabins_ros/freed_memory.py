# SPDX-License-Identifier: Apache-2.0
"""What becomes of memory that is freed: kept for the next frame, or given back."""

import ctypes

# From malloc.h of glibc; 32 MB is the largest threshold that it accepts.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_HEAP_BLOCK = 32 * 1024 * 1024
LARGEST_HEAP_RESERVE = 512 * 1024 * 1024


def keep_freed_memory() -> None:
    """
    Let glibc keep the memory of one frame for the next instead of returning it to the kernel.

    Images and the network's activations are large blocks, which malloc maps and unmaps each time:
    10000 page faults a frame with adabins-lite on a CPU, 250 after this. Loading frames for
    training takes a quarter less time. Without glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK)
        mallopt(M_TRIM_THRESHOLD, LARGEST_HEAP_RESERVE)


def return_freed_memory() -> None:
    """Give what was freed back to the kernel, once: loading takes more memory than running."""
    malloc_trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if malloc_trim is not None:
        malloc_trim(0)
