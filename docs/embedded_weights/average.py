# SPDX-License-Identifier: Apache-2.0
"""
Average the weights of trainings of one network that went on from each other.

`python average.py OUTPUT STD DEPTH FILE SHARE FILE SHARE ...` (Wortsman et al., Model soups, ICML
2022). STD and DEPTH are factors on the standard deviation and on depth: a training calibrates them
on places that it knows, so they come from places that were left out. That on depth divides the
focal length at which the network's depth is metric. Written as adabins-lite, in half precision.
"""

import sys

from adabins_ros.model import load_model, save_checkpoint

output, std, depth = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
files, shares = sys.argv[4::2], [float(share) for share in sys.argv[5::2]]
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
        'training_focal_length_px': network.config.training_focal_length_px / depth,
        'provenance': 'docs/embedded_weights/train.sh; see the model card',
    }
)
save_checkpoint(network, output, half=True, overwrite=True)
