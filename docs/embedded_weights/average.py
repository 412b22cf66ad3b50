# SPDX-License-Identifier: Apache-2.0
"""
Average the weights of two trainings of one network, the second of which went on from the first.

`python average.py FIRST SECOND SHARE STD OUTPUT [--single]`, SHARE being the second's, 0 to 1
(Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). STD is a factor on the
standard deviation, which a training calibrates on places that it knows: leave_one_out.sh tells
what new ones need.
Written as adabins-lite, in half precision, or with --single in single, to train on.
"""

import sys

from adabins_ros.model import load_model, save_checkpoint

first, second = load_model(sys.argv[1]), load_model(sys.argv[2])
share, std = float(sys.argv[3]), float(sys.argv[4])
before = first.state_dict()
state = second.state_dict()
for name, tensor in state.items():
    if tensor.is_floating_point():
        tensor.mul_(share).add_(before[name], alpha=1 - share)
second.load_state_dict(state)
config = second.config
second.config = config.model_copy(
    update={
        'name': 'adabins-lite',
        'std_factor': std * config.std_factor,
        'provenance': f'{config.provenance}; averaged: {share:g} of it, {1 - share:g} of the '
        'weights that it went on from',
    }
)
save_checkpoint(second, sys.argv[5], half='--single' not in sys.argv, overwrite=True)
