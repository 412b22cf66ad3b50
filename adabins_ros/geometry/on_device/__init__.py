# SPDX-License-Identifier: Apache-2.0
"""
What `geometry` does with numpy, for tensors: where depth lies on a GPU, it need not leave it.

Each function gives what its namesake one folder up gives, to the last bit. On a CPU the numpy
forms are the faster ones.
"""
