# SPDX-License-Identifier: Apache-2.0
"""The process in which engines are built for another one; see ``preparing``."""

from __future__ import annotations

import sys

from adabins_ros.inference.engines.opening import build_for_another_process
from adabins_ros.model.errors import ModelError

if __name__ == '__main__':
    try:
        build_for_another_process(sys.argv[1])
    except ModelError as error:
        sys.exit(str(error))
