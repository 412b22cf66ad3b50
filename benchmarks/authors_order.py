# SPDX-License-Identifier: Apache-2.0
"""
What the deployed graph is held against: the network in the order of the authors' description.

It is this package's network as written, with the range-attention maps, the 1x1 convolution and the
softmax over whole planes (reference: arXiv 2011.14141, section 3); none of the authors' code is
used. Weights are random, since the authors' files can't be had everywhere; the batch norms hold
statistics that the network could have seen.
"""

from __future__ import annotations

from adabins_ros.model import AdaBins, PRESETS
from adabins_ros.model.bins import bin_centers, normalized_widths
import torch
from torch import nn
from torch.nn import functional


def network_with_statistics(name: str) -> AdaBins:
    """Make a network of random weights whose batch norms do something, but magnify little."""
    torch.manual_seed(0)
    network = AdaBins(PRESETS[name]).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.8, 1.2)
            nn.init.uniform_(norm.weight, 0.8, 1.2)
            nn.init.normal_(norm.bias, 0, 0.1)
    return network.requires_grad_(False)


def authors_forward(network: AdaBins, image: torch.Tensor) -> torch.Tensor:
    """Compute depth (B, 1, h, w) in the order of the authors' description."""
    config = network.config
    decoded = network.decoder(network.encoder(image))
    raw_widths, features, kernels = network.mini_vit(decoded)
    kernels, offsets = network.mini_vit.on_features(kernels)
    maps = (kernels @ features.flatten(2) + offsets).unflatten(2, features.shape[-2:])
    probabilities = torch.softmax(network.conv_out(maps), dim=1)
    widths = normalized_widths(raw_widths, config.bin_eps)
    centers = bin_centers(widths, config.min_depth, config.max_depth)
    return (probabilities * centers[:, :, None, None]).sum(1, keepdim=True)


def authors_predict(network: AdaBins, image: torch.Tensor) -> torch.Tensor:
    """
    Average an image and its mirrored image, as the authors do: two passes.

    Returns (1, 1, H, W) at the image's size, within the range.
    """
    low, high = network.config.min_depth, network.config.max_depth
    straight = authors_forward(network, image).clamp(low, high)
    mirrored = authors_forward(network, image.flip(-1)).flip(-1).clamp(low, high)
    mean = (straight + mirrored) / 2
    size = image.shape[-2:]
    return functional.interpolate(mean, size, mode='bilinear', align_corners=True)
