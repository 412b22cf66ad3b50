# SPDX-License-Identifier: Apache-2.0
"""The network that engines are made from, built when one of them needs it."""

from __future__ import annotations

from functools import cached_property
import os

from adabins_ros.inference.engines.cache import network_key, short_hash
from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.model_file import ModelFile
from adabins_ros.model.errors import ModelError
from adabins_ros.provenance import sha256


class NetworkSource:
    """
    A network in memory, or a model file from which it is built at need.

    Parameters
    ----------
    model : AdaBins or ModelFile
        A network is put into evaluation mode.

    """

    def __init__(self, model: AdaBins | ModelFile) -> None:
        self.config = model.config
        self.file = model if isinstance(model, ModelFile) else None
        self._network = model if isinstance(model, AdaBins) else None
        self._seen = self._state_of_file()

    @cached_property
    def key(self) -> str:
        """Return a short hash of weights and configuration; of a file's bytes, if there is one."""
        if self.file is None:
            return network_key(self.network)
        return short_hash(sha256(self.file.path), self.config.model_dump_json())

    @property
    def network(self) -> AdaBins:
        """
        Return the network, on the CPU; a file is loaded when this is first asked for.

        Raises
        ------
        ModelError
            If the file is damaged, or another than it was.

        """
        if self._network is None:
            assert self.file is not None
            self._network = self.file.load()
            # Or the engines of one network would be kept under the key of another.
            if self._state_of_file() != self._seen:
                raise ModelError(
                    f'model file {self.file.path} was replaced while it was loaded; load it again'
                )
        return self._network.eval().requires_grad_(False)

    @cached_property
    def parameter_count(self) -> int:
        """How many numbers were learned."""
        if self.file is not None:
            return self.file.parameter_count
        return sum(parameter.numel() for parameter in self.network.parameters())

    def _state_of_file(self) -> tuple[int, ...]:
        if self.file is None:
            return ()
        try:
            state = os.stat(self.file.path)
        except OSError:
            return ()
        return state.st_ino, state.st_size, state.st_mtime_ns
