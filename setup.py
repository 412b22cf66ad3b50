# SPDX-License-Identifier: Apache-2.0
"""Install the package: ament_python for colcon, and a plain Python package for pip."""

from glob import glob
from pathlib import Path
import re
import site
import sysconfig

from setuptools import find_packages, setup

PACKAGE = 'adabins_ros'
VERSION = re.search(r"__version__ = '([^']+)'", Path(PACKAGE, '__init__.py').read_text())[1]


def onnxruntime() -> str:
    """
    Name the distribution of ONNX Runtime to require.

    All of them (onnxruntime-gpu, ...) unpack into one folder: to require plain onnxruntime beside
    another would overwrite the one that somebody has chosen for a GPU. pip builds apart from what
    is installed, so the folders that it installs into are looked at.
    """
    folders = {sysconfig.get_path('purelib'), site.getusersitepackages(), *site.getsitepackages()}
    names = (
        path.name.split('-')[0].replace('_', '-')
        for folder in sorted(folders)
        for path in sorted(Path(folder).glob('onnxruntime_*-*.dist-info'))
    )
    return next(names, 'onnxruntime>=1.17')


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
            'depth_node = adabins_ros.starting:depth_node',
            'doctor = adabins_ros.doctor.doctor_command:main',
            'evaluate = adabins_ros.evaluation.evaluate_command:main',
            'fetch = adabins_ros.fetch_command:main',
            'play_bag = adabins_ros.ros.play_bag:main',
            'record = adabins_ros.ros.record_command:main',
            'training = adabins_ros.training.train_command:main',
        ],
    },
    # What runs the node: no torch, and no rclpy, whose wheels would shadow a ROS install (extra
    # [ros]). Not opencv-python: its wheel needs libGL and libxcb, which a robot or a container
    # without a display lacks, and `import cv2` then fails. Nothing here opens a window.
    install_requires=[
        'numpy>=1.26',
        'opencv-python-headless>=4.5.4',
        onnxruntime(),
        'pydantic>=2',
        'typer>=0.12',
        'rich',
        'rosbags>=0.11.6',
        'mcap>=1.6',
        'huggingface_hub>=0.25',
        'deflate>=0.7',
        'Jinja2',
        'matplotlib',
        'Pillow',
        'PyYAML',
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
        # To train, to export, and to run checkpoints that nobody has exported.
        'train': [
            'torch>=2.1',
            'torchvision',
            'timm>=1.0',
            'safetensors',
            'pytorch-lightning>=2.6,<3',
            'torchmetrics>=1.4',
            'tensorboard',
            'onnx>=1.16',
            # of which tensorboard's pictures need more than Ubuntu 22.04 has
            'Pillow>=9.1',
        ],
        'openvino': ['openvino>=2024.0'],
        'test': [
            'pytest',
            'pytest-timeout',
            'pytest-xdist',
            'hypothesis',
            'colcon-common-extensions',
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
