# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as a loaded model, also beside a running one; what to say if it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from adabins_ros.freed_memory import loading_apart, return_freed_memory
from adabins_ros.model.errors import ModelError
from adabins_ros.ros.parameters import DepthNodeSettings
import numpy as np

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor

LOADING, FAILED = 'loading', 'failed'
"""What a change of the model begins with, in `ModelStatus`."""


@dataclass(frozen=True)
class ModelStatus:
    """The name of the model that runs, '' for none, and the last change: 'none', or in words."""

    active: str = ''
    change: str = 'none'


def load_predictor(
    settings: DepthNodeSettings,
    image_sizes: Sequence[tuple[int, int]] = (),
    still_wanted: Callable[[], bool] | None = None,
) -> DepthPredictor:
    """
    Load the model that the parameters name, and let it plan for the frames that will come.

    It runs with what can run at once; the node changes over to a faster engine when it is built.

    Parameters
    ----------
    settings
        The node's parameters.
    image_sizes
        Height and width of the cameras' images, px; by default one of the training size.
    still_wanted
        As `DepthPredictor.from_pretrained` takes it.

    """
    # Not at the top: runtimes take a while to import, and meanwhile nobody would know why.
    from adabins_ros import DepthPredictor

    predictor = DepthPredictor.from_pretrained(
        settings.model,
        depth_range=settings.depth_range if any(settings.depth_range) else None,
        device=settings.device,
        precision=settings.precision,
        engine=settings.engine,
        flip_average=settings.flip_average,
        inference_size=settings.inference_size if any(settings.inference_size) else None,
        pixel_budget=settings.pixel_budget or None,
        wait=False,
        still_wanted=still_wanted,
    )
    for size in {*image_sizes} or {predictor.config.input_size}:
        predictor.predict(np.zeros((*size, 3), np.uint8))
    return predictor


def in_words(error: Exception, model: str) -> str | None:
    """Return what to tell people of an error while loading a model; None for a fault of ours."""
    if isinstance(error, ImportError):
        return (
            f'the network can not be run ({error}); install what is missing with pip for this '
            'Python'
        )
    if out_of_memory(error):
        return (
            f'out of memory: {model} does not fit ({error}); use a smaller model, or another '
            'device'
        )
    return str(error) if isinstance(error, ModelError) else None


@dataclass(eq=False)
class ModelChange:
    """A model that is to take over, and then what was loaded, or why not."""

    settings: DepthNodeSettings
    image_sizes: Sequence[tuple[int, int]]
    """Height and width of the cameras' images, px."""
    file_state: tuple[int, ...] = ()
    predictor: DepthPredictor | None = None
    problem: str = ''


class ModelChanges:
    """
    Load models beside the one that runs, in a thread; of several the newest counts.

    Parameters
    ----------
    loaded
        Called in that thread with each change that was begun, when it is loaded or has failed.

    """

    def __init__(self, loaded: Callable[[ModelChange], object]) -> None:
        self._loaded = loaded
        self._wanted: ModelChange | None = None
        self._thread = ThreadPoolExecutor(1, 'model')
        self._last: Future[None] | None = None

    def begin(self, change: ModelChange) -> None:
        """Load a model, and no other that was begun before."""
        self._wanted = change
        self._last = self._thread.submit(self._load, change)

    def is_wanted(self, change: ModelChange) -> bool:
        """Tell whether no other was begun since, nor this one given up."""
        return self._wanted is change

    def give_up(self) -> None:
        """Want nothing that is not loaded yet."""
        self._wanted = None

    def retire(self, predictor: DepthPredictor, wait_for_frame: Callable[[], object]) -> None:
        """Free a model that no further frame takes, after the one that is in work."""
        self._last = self._thread.submit(self._close, predictor, wait_for_frame)

    def stop(self, timeout_s: float) -> bool:
        """Begin nothing more; tell whether what was begun took less than the timeout."""
        self.give_up()
        self._thread.shutdown(wait=False)
        return self._last is None or not wait([self._last], timeout_s).not_done

    def _load(self, change: ModelChange) -> None:
        is_wanted = partial(self.is_wanted, change)
        if not is_wanted():
            return
        change.file_state = file_state(change.settings.model)
        try:
            with loading_apart():
                change.predictor = load_predictor(change.settings, change.image_sizes, is_wanted)
        except Exception as error:  # whatever it is, the model that runs goes on
            known = in_words(error, change.settings.model)
            change.problem = known or f'{type(error).__name__}: {error}'
        self._loaded(change)

    def _close(self, predictor: DepthPredictor, wait_for_frame: Callable[[], object]) -> None:
        wait_for_frame()
        predictor.close()
        free_cached_memory()
        return_freed_memory()


def file_state(model: str) -> tuple[int, ...]:
    """Return what tells a model file from another that was put in its place; () for none."""
    try:
        found = os.stat(Path(model).expanduser())
    except (OSError, ValueError, RuntimeError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory, the computer's or the GPU's, did not suffice."""
    text = f'{type(error).__name__} {error}'.lower()
    words = ('outofmemoryerror', 'out of memory', 'allocate memory')
    return isinstance(error, MemoryError) or any(each in text for each in words)


def free_cached_memory() -> None:
    """Give the GPU memory that torch, where it runs, keeps for later use back to the device."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
