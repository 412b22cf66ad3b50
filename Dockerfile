# SPDX-License-Identifier: Apache-2.0
# The depth node on a ROS release; written from the images' documentation, it has not been built yet.
#   docker build -t adabins_ros --build-arg ROS_DISTRO=jazzy .
#   docker run --rm --network host --ipc host adabins_ros image_topic:=/camera/image_raw
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

RUN apt-get update && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
# What rosdep has no keys for (package.xml).
RUN guard=$(python3 -m pip help install | grep -o -m 1 -e '--break-system-packages' || true) \
    && python3 -m pip install --no-cache-dir $guard onnxruntime 'pydantic>=2' 'typer>=0.12' rich \
    'rosbags>=0.11.6' 'mcap>=1.6' 'huggingface_hub>=0.25' 'deflate>=0.7' 'numpy<2'

WORKDIR /ros2_ws
COPY . src/adabins_ros
# Without RViz, which a robot does not need.
RUN apt-get update && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install --from-paths src --ignore-src -y --skip-keys rviz2 \
    && rm -rf /var/lib/apt/lists/* \
    && . "/opt/ros/$ROS_DISTRO/setup.sh" && colcon build --packages-select adabins_ros

RUN printf '%s\n' '#!/bin/sh' '. /ros2_ws/install/setup.sh' 'exec "$@"' > /entrypoint.sh \
    && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh", "ros2", "launch", "adabins_ros", "depth.launch.py"]
