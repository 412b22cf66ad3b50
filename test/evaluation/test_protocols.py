# SPDX-License-Identifier: Apache-2.0
"""The pixels that count are those of the benchmarks."""

from __future__ import annotations

from adabins_ros.evaluation.protocols import Protocol
import numpy as np
import pytest

NYU = Protocol('nyu', 'eigen', 1e-3, 10.0)
KITTI = Protocol('kitti', 'garg', 1e-3, 80.0)


def _rows_and_columns(counted: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(counted)
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert np.count_nonzero(counted) == area, 'the crop has holes'
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize(
    ('protocol', 'size', 'expected'),
    [
        (NYU, (480, 640), (45, 471, 41, 601)),
        (NYU, (240, 320), (22, 235, 20, 300)),
        # int(.40810811 * 352), int(.99189189 * 352), int(.03594771 * 1216), int(.96405229 * 1216)
        (KITTI, (352, 1216), (143, 349, 43, 1172)),
        (Protocol('kitti', 'eigen', 1e-3, 80.0), (352, 1216), (117, 321, 43, 1172)),
        (Protocol('bags', 'eigen', 1e-3, 10.0), (480, 640), (45, 471, 41, 601)),
        (Protocol('folder', 'garg', 1e-3, 10.0), (100, 200), (40, 99, 7, 192)),
        (Protocol('bags', 'none', 0.1, 10.0), (30, 40), (0, 30, 0, 40)),
    ],
)
def test_a_crop_keeps_the_rows_and_columns_of_its_benchmark(protocol, size, expected):
    counted = protocol.counted(np.full(size, 5, np.float32))
    assert counted.dtype == np.float32
    assert _rows_and_columns(counted) == expected


def test_truth_outside_the_range_does_not_count():
    truth = np.array([[0.0, np.nan, np.inf, -1.0, 1e-4, 3.0, 9.99, 10.0, 12.0]], np.float32)
    counted = Protocol('bags', 'none', 1e-3, 10.0).counted(truth)
    assert counted.tolist() == [[0, 0, 0, 0, 0, 3, pytest.approx(9.99), 0, 0]]
