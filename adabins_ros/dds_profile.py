# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS profile of this package, for processes that no launch file starts."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from adabins_ros.package_files import package_file

OLDER_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
"""Each release of ROS 2 reads one of them; newer ones warn of the older name."""
OLDER_RELEASES = ('humble', 'iron', 'jazzy')


def unset_variable(environment: Mapping[str, str]) -> str | None:
    """Return the variable that this release of ROS reads; None if the user has set one."""
    if VARIABLE in environment or OLDER_VARIABLE in environment:
        return None
    return OLDER_VARIABLE if environment.get('ROS_DISTRO') in OLDER_RELEASES else VARIABLE


def set_dds_profile(environment: MutableMapping[str, str]) -> None:
    """
    Let Fast DDS use config/fastdds.xml, unless the user has chosen a profile.

    Parameters
    ----------
    environment : mutable mapping
        `os.environ` before the first ROS node of the process, or that of a child process.

    """
    if variable := unset_variable(environment):
        environment[variable] = str(package_file('config/fastdds.xml'))
