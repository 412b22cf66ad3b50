# SPDX-License-Identifier: Apache-2.0
"""The best weights of a run for a depth node that runs, if they are better than the first."""

from __future__ import annotations

import os
import subprocess
import sys

from adabins_ros.training.best_weights import LARGER_IS_BETTER
from adabins_ros.training.run_directory import RunDirectory, RunError
import typer


def deploy_best(run: RunDirectory, node: str) -> None:
    """
    Set the parameter model of a node to the best weights, and wait until it runs them.

    That is left out, with the reason said, unless they are better on what was held out than those
    that the run began with.

    Raises
    ------
    RunError
        If the node does not run them. The result of the run is what it is.

    """
    weights = (run.best_onnx if run.best_onnx.exists() else run.best).resolve()
    by_hand = f'ros2 param set {node} model {weights}'
    monitor = run.config().trainer.monitor
    key = f'validation/{monitor}'
    before, after = run.start_metrics().get(key), run.best_metrics().get(key)
    if before is None or after is None:
        typer.echo(f'Not deployed: no held-out frames tell whether it got better. {by_hand}')
        return
    if not (after > before if monitor in LARGER_IS_BETTER else after < before):
        typer.echo(f'Not deployed: {monitor} was {before:.3f} and is {after:.3f}. {by_hand}')
        return
    environment = dict(os.environ)
    # The rclpy wheels restart each interpreter once, to find their libraries, and mark that.
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    # In a process of its own: torch's libraries and those of ROS need not get on.
    done = subprocess.run(
        [sys.executable, '-m', 'adabins_ros.ros.set_model', node, str(weights)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = (done.stdout.strip() or f'exit status {done.returncode}').splitlines()[-1]
    if done.returncode:
        raise RunError(f'the run is complete, but not deployed: {said}. To try again: {by_hand}')
    typer.echo(f'Deployed, {monitor} {before:.3f} to {after:.3f}: {said}')
