# SPDX-License-Identifier: Apache-2.0
"""
Average the weights of trainings of one network that went on from each other.

`python average.py OUTPUT STD FILE SHARE FILE SHARE ...` (Wortsman et al., Model soups, ICML 2022).
STD is the factor on the standard deviation: a training calibrates it on places that it knows, so it
comes from places that were left out. Written as adabins-lite, in half precision.
"""

import sys

from adabins_ros.model import load_model, save_checkpoint

output, std = sys.argv[1], float(sys.argv[2])
files, shares = sys.argv[3::2], [float(share) for share in sys.argv[4::2]]
networks = [load_model(file) for file in files]
states = [network.state_dict() for network in networks]
average, network = states[-1], networks[-1]
for name, tensor in average.items():
    if tensor.is_floating_point():
        parts = zip(states, shares, strict=True)
        average[name] = sum(state[name] * (share / sum(shares)) for state, share in parts)
network.load_state_dict(average)
network.config = network.config.model_copy(
    update={
        'name': 'adabins-lite',
        'std_factor': std,
        'provenance': 'docs/embedded_weights/train.sh; see the model card',
    }
)
save_checkpoint(network, output, half=True, overwrite=True)
