# SPDX-License-Identifier: Apache-2.0
"""How good depth is, in figures and in pictures."""
