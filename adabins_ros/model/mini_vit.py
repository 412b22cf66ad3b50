# SPDX-License-Identifier: Apache-2.0
"""Mini-ViT (paper, section 3.3): bin widths and range-attention maps from the decoded features."""

from adabins_ros.model.decoder import convolution
import torch
from torch import nn


class MiniViT(nn.Module):
    """
    A small transformer over patches of the decoded features.

    Its first output is regressed to the bin widths; the next C outputs are 1x1 kernels that,
    applied to the decoded features, give the range-attention maps. Positions are learned and
    taken in raster order, so the number of patches must lie between C + 1 and ``max_tokens``.

    Parameters
    ----------
    in_channels : int
        C_d.
    num_bins : int
        N.
    patch_size, embedding_dim, num_kernels, num_layers, num_heads, mlp_dim, regressor_dim
        p, E, C, layers, heads, MLP and regressor size; the paper's Table 1 by default.
    dropout : float
        Of the transformer's layers.
    max_tokens : int
        Learned positions.
    kind : {'full', 'separable'}
        The 3x3 convolution.

    """

    def __init__(
        self,
        in_channels: int,
        num_bins: int,
        *,
        patch_size: int = 16,
        embedding_dim: int = 128,
        num_kernels: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        mlp_dim: int = 1024,
        regressor_dim: int = 256,
        dropout: float = 0.1,
        max_tokens: int = 500,
        kind: str = 'full',
    ) -> None:
        super().__init__()
        self.num_kernels = num_kernels
        self.patch_embedding = nn.Conv2d(in_channels, embedding_dim, patch_size, stride=patch_size)
        self.positional_encodings = nn.Parameter(torch.rand(max_tokens, embedding_dim))
        layer = nn.TransformerEncoderLayer(
            embedding_dim, num_heads, dim_feedforward=mlp_dim, dropout=dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.range_features = convolution(in_channels, embedding_dim, kind)
        self.regressor = nn.Sequential(
            nn.Linear(embedding_dim, regressor_dim),
            nn.LeakyReLU(),
            nn.Linear(regressor_dim, regressor_dim),
            nn.LeakyReLU(),
            nn.Linear(regressor_dim, num_bins),
        )

    def forward(self, decoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Look at the whole image and choose its bins.

        Parameters
        ----------
        decoded : torch.Tensor
            (B, C_d, h, w) decoded features.

        Returns
        -------
        raw_widths : torch.Tensor
            (B, N), b' of equation 1, not negative.
        range_features : torch.Tensor
            (B, E', h, w), without the 1x1 convolution that ends separable ones.
        kernels : torch.Tensor
            (B, C, E); what ``on_features`` makes of them gives the range-attention maps. They are
            left apart because the 1x1 convolution that follows folds into the kernels.

        Raises
        ------
        ValueError
            If the image has too few or too many patches.

        """
        embeddings = self.patch_embedding(decoded).flatten(2).transpose(1, 2)
        tokens, most = embeddings.shape[1], self.positional_encodings.shape[0]
        if not self.num_kernels < tokens <= most:
            raise ValueError(
                f'an image of {2 * decoded.shape[2]}x{2 * decoded.shape[3]} pixels has {tokens} '
                f'patches, but the mini-ViT needs {self.num_kernels + 1} to {most}; resize it'
            )
        outputs = self.transformer(embeddings + self.positional_encodings[:tokens])
        raw_widths = torch.relu(self.regressor(outputs[:, 0]))
        kernels = outputs[:, 1:][:, : self.num_kernels]
        features = self.range_features
        spatial = features[0] if isinstance(features, nn.Sequential) else features
        return raw_widths, spatial(decoded), kernels

    def on_features(self, kernels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Multiply the 1x1 convolution P that ends separable range features into the kernels.

        K (P x + p) = (K P) x + K p, on fewer channels.

        Parameters
        ----------
        kernels : torch.Tensor
            (B, C, E).

        Returns
        -------
        kernels, offsets : torch.Tensor
            (B, C, E') and (B, C, 1); the maps are kernels @ range_features + offsets.

        """
        if not isinstance(self.range_features, nn.Sequential):
            return kernels, torch.zeros_like(kernels[..., :1])
        pointwise = self.range_features[1]
        assert isinstance(pointwise, nn.Conv2d)
        assert pointwise.bias is not None
        return kernels @ pointwise.weight.flatten(1), kernels @ pointwise.bias[:, None]
