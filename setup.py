# SPDX-License-Identifier: Apache-2.0
"""Install the package: ament_python for colcon, and a plain Python package for pip."""

from glob import glob
from pathlib import Path
import re

from setuptools import find_packages, setup

PACKAGE = 'adabins_ros'
VERSION = re.search(r"__version__ = '([^']+)'", Path(PACKAGE, '__init__.py').read_text())[1]

# Engines that are faster than torch where they are installed; export needs onnx.
ONNX = ['onnx>=1.16', 'onnxruntime>=1.17']
OPENVINO = ['onnx>=1.16', 'openvino>=2024.0']

setup(
    name=PACKAGE,
    version=VERSION,
    description='Metric depth with uncertainty from one camera: AdaBins as a ROS 2 node',
    author='adabins_ros developers',
    author_email='adabins_ros@users.noreply.github.com',
    maintainer='adabins_ros developers',
    maintainer_email='adabins_ros@users.noreply.github.com',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'evaluation/*.j2', 'samples/*', 'weights/*']},
    # Relative paths: below the install space for colcon, below the environment for pip.
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{PACKAGE}/config', sorted(glob('config/*'))),
    ],
    entry_points={
        'console_scripts': [
            'adabins = adabins_ros.cli:main',
            'depth_node = adabins_ros.ros.depth_node:main',
            'evaluate = adabins_ros.evaluation.command:main',
            'play_bag = adabins_ros.ros.play_bag:main',
            'training = adabins_ros.training.command:main',
        ],
    },
    # No rclpy here: beside a ROS install the wheels of the extra [ros] would shadow it.
    install_requires=[
        'torch>=2.1',
        'torchvision',
        'timm>=1.0',
        'numpy>=1.26',
        # Not opencv-python: its wheel needs libGL and libxcb, which a robot or a container
        # without a display lacks, and `import cv2` then fails. Nothing here opens a window.
        'opencv-python-headless>=4.8',
        'pydantic>=2',
        'typer>=0.12',
        'rich',
        'safetensors',
        'rosbags>=0.10',
        'Jinja2',
        'matplotlib',
        'Pillow',
        'PyYAML',
        'pytorch-lightning>=2.6,<3',
        'torchmetrics>=1.4',
        'tensorboard',
    ],
    extras_require={
        'ros': [
            'ros-rclpy[fastrtps]',
            'ros-sensor-msgs',
            'ros-geometry-msgs',
            'ros-diagnostic-msgs',
            'ros-std-msgs',
            'ros-std-srvs',
        ],
        'onnx': ONNX,
        'openvino': OPENVINO,
        'test': [
            'pytest',
            'pytest-timeout',
            'hypothesis',
            'colcon-common-extensions',
            *ONNX,
            *OPENVINO,
        ],
        'lint': [
            'ruff',
            'mypy',
            # flake8 with the plugins that ament_flake8 depends on, and pep257's successor
            'flake8',
            'flake8-blind-except',
            'flake8-builtins',
            'flake8-class-newline',
            'flake8-comprehensions',
            'flake8-deprecated',
            'flake8-import-order',
            'flake8-quotes',
            'pydocstyle',
            'types-PyYAML',
        ],
    },
    zip_safe=False,
)
