# SPDX-License-Identifier: Apache-2.0
"""Train the network on what a robot recorded: data, losses, metrics, and runs that go on."""
