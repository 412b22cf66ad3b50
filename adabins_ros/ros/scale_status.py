# SPDX-License-Identifier: Apache-2.0
"""What is known of the scale, in words and numbers for topics."""

from __future__ import annotations

import math

from adabins_ros.scale import ScaleFit
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue


def scale_status(fit: ScaleFit) -> DiagnosticStatus:
    """Return what is known of the scale of a frame as the status `scale`."""
    values = scale_values(fit)
    message = f'factor {fit.factor:.3f} from {values["sources"]}'
    if not fit.anchored:
        message = f'not anchored: {fit.reason}'
    elif fit.reason:
        message += f'; {fit.reason}'
    return DiagnosticStatus(
        level=DiagnosticStatus.OK if fit.anchored else DiagnosticStatus.WARN,
        name='scale',
        message=message,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def scale_values(fit: ScaleFit) -> dict[str, str]:
    """Return what is known of a scale, by name."""
    return {
        'anchored': str(fit.anchored).lower(),
        'factor': f'{fit.factor:.5f}',
        'pivot': f'{fit.pivot:.4f}',
        'exponent': f'{fit.exponent:.5f}',
        'sigma': f'{fit.sigma:.4f}',
        'age': f'{fit.age_s:.3f}' if math.isfinite(fit.age_s) else 'inf',
        'support': str(fit.support),
        'sources': ','.join(fit.sources),
        'reason': fit.reason,
    }
