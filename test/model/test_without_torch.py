# SPDX-License-Identifier: Apache-2.0
"""A light install reads what a model is, and says what a checkpoint would need."""

import os
from pathlib import Path
import shutil
import subprocess
import sys

from adabins_ros.extras import MissingExtra, require
from adabins_ros.model.model_file import WEIGHTS
import pytest

# As if it were not installed: torch can be found by nobody.
HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'timm', 'safetensors', 'onnx', 'torchvision'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name in ('torch', 'timm', 'safetensors', 'onnx', 'torchvision') else found(name)
)
"""


def without_torch(program: str, *arguments: object) -> str:
    """Run a program in a process in which neither torch nor onnx can be imported."""
    said = subprocess.run(
        [sys.executable, '-c', HIDDEN + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        check=False,
    )
    assert not said.returncode, said.stderr
    return said.stdout


def test_a_model_file_says_what_it_is_without_torch() -> None:
    said = without_torch(
        'from adabins_ros.model import find_model, ModelError, PRESETS\n'
        "file = find_model('adabins-lite')\n"
        'print(file.config.name, file.config.trained, file.parameter_count > 3_000_000)\n'
        "print('torch' in sys.modules)\n"
    )
    assert said.split() == ['adabins-lite', 'True', 'True', 'False']


def test_a_checkpoint_without_torch_names_the_extra_and_the_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / 'best.safetensors'
    shutil.copy(WEIGHTS / 'adabins-lite.safetensors', path)
    program = (
        'from adabins_ros.model import find_model\n'
        'try:\n    find_model(sys.argv[1]).load()\n'
        'except ValueError as error:\n    print(error)\n'
    )
    sentence = "needs the extra [train]: pip install '.[train]'"
    assert without_torch(program, path) == f'the checkpoint {path} {sentence}\n'
    path.with_suffix('.onnx').touch()
    said = without_torch(program, path)
    assert said.count('\n') == 1
    assert f'{sentence}; or take {path.with_suffix(".onnx")} beside it' in said


def test_an_authors_file_without_torch_names_the_extra(tmp_path: Path) -> None:
    path = tmp_path / 'AdaBins_nyu.pt'
    path.write_bytes(b'PK\x03\x04 and so on')
    program = (
        'from adabins_ros.model import find_model\n'
        'try:\n    find_model(sys.argv[1])\n'
        'except ValueError as error:\n    print(type(error).__name__, error)\n'
    )
    assert 'MissingExtra the checkpoint' in without_torch(program, path)


def test_what_is_installed_is_not_asked_for() -> None:
    require('train', 'json', 'pathlib', what='nothing')
    with pytest.raises(MissingExtra, match=r'^adabins fly needs the extra \[train\]: pip install'):
        require('train', 'json', 'no_such_package', what='adabins fly')
    with pytest.raises(MissingExtra, match=r'^the Python package no_such_package needs the extra'):
        require('train', 'no_such_package')
