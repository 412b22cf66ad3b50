# SPDX-License-Identifier: Apache-2.0
"""What the README and docs/ tell a reader to type, to set and to open is there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
import re
import subprocess
import sys

import pytest
import yaml

MOST_WORDS = 1500
SAME_AS = {'training': 'train', 'depth_node': 'node', 'play_bag': 'play'}


@pytest.fixture(scope='module')
def papers(repository) -> dict[Path, str]:
    """Return the text of the README and of docs/."""
    files = [repository / 'README.md', *sorted((repository / 'docs').glob('*.md'))]
    return {file: file.read_text() for file in files}


def test_the_readme_ends_before_its_reader_does(repository):
    assert len((repository / 'README.md').read_text().split()) <= MOST_WORDS


def anchor(heading: str) -> str:
    """Return the anchor that a heading has on the repository's page."""
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def test_every_link_leads_somewhere(papers):
    for file, text in papers.items():
        for target in re.findall(r'\]\(([^)]+)\)', text):
            if '://' in target:
                continue
            name, _, part = target.partition('#')
            linked = (file.parent / name) if name else file
            assert linked.exists(), f'{file.name}: {target}'
            if part:
                headings = re.findall(r'^#+ (.+)$', linked.read_text(), re.MULTILINE)
                assert part in map(anchor, headings), f'{file.name}: {target}'


def commands(text: str) -> list[list[str]]:
    """Return the words of each call of ours in the code of a text, its command first."""
    blocks = re.findall(r'^```bash\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r'`((?:\.venv/bin/)?adabins [^`]+)`', text)
    found = []
    for line in lines:
        for call in re.split(r'&&|\|', line.partition('#')[0]):
            words = call.replace('ros2 run adabins_ros', 'adabins', 1).split()
            if len(words) > 1 and words[0].rpartition('/')[2] == 'adabins':
                found.append([SAME_AS.get(words[1], words[1]), *words[2:]])
    return found


@cache
def help_of(command: str) -> str:
    """Return what a command says of itself."""
    done = subprocess.run(
        [sys.executable, '-m', 'adabins_ros.cli', *command.split(), '--help'],
        env={'COLUMNS': '200', 'PATH': '/usr/bin:/bin', 'PYTHONPATH': ':'.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_command_and_option_exists(papers):
    known = help_of('')
    for file, text in papers.items():
        for command, *words in commands(text):
            if command.startswith('-') or not command.isalpha():
                continue
            assert re.search(rf'\b{command}\b', known), f'{file.name}: adabins {command}'
            if '--ros-args' in words:
                continue
            for option in (word for word in words if word.startswith('--')):
                assert option in help_of(command), f'{file.name}: adabins {command} {option}'


def rows(text: str, heading: str) -> set[str]:
    """Return the names in the first column of the table below a heading."""
    section = text.partition(f'## {heading}\n')[2].partition('\n## ')[0]
    first = [line.split('|')[1] for line in section.splitlines() if line.startswith('| `')]
    return {name for cell in first for name in re.findall(r'`([^`]+)`', cell)}


def test_the_tables_are_those_of_the_node(repository):
    pytest.importorskip('rclpy')
    from adabins_ros.ros.parameters import ros_name, ROWS
    from adabins_ros.ros.products import PRODUCTS
    from adabins_ros.ros.scale_sources import TOPICS

    text = (repository / 'README.md').read_text()
    assert rows(text, 'Parameters') == set(map(ros_name, ROWS))
    taken = {'image_raw', 'image_raw/compressed', 'camera_info', *(f'scale/{n}' for n in TOPICS)}
    published = {product.topic for product in PRODUCTS} | {'/diagnostics'}
    assert rows(text, 'Topics') == taken | published


def test_every_file_that_the_way_of_a_frame_names_exists(papers, repository):
    for file, text in papers.items():
        for name in re.findall(
            r'`((?:adabins_ros|config|benchmarks|launch|test)/[\w./-]+)`', text
        ):
            assert (repository / name).exists(), f'{file.name}: {name}'


def test_nav2_parameters_are_merged_as_the_paper_says(papers, repository, tmp_path):
    text = papers[repository / 'docs' / 'nav2.md']
    code = re.search(r'python3 -c "\n(.*?)\n" nav2_params', text, re.DOTALL).group(1)
    mine = {
        'controller_server': {'ros__parameters': {'controller_frequency': 20.0}},
        'local_costmap': {'local_costmap': {'ros__parameters': {'width': 3, 'plugins': ['a']}}},
    }
    (tmp_path / 'mine.yaml').write_text(yaml.safe_dump(mine))
    files = [str(tmp_path / 'mine.yaml'), str(repository / 'config' / 'nav2_depth.yaml')]
    done = subprocess.run([sys.executable, '-c', code, *files], capture_output=True, text=True)
    merged = yaml.safe_load(done.stdout)
    assert merged['controller_server'] == mine['controller_server'], done.stderr
    costmap = merged['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['width'] == 3 and costmap['plugins'] == ['depth_layer', 'inflation_layer']
    assert costmap['depth_layer']['points']['topic'] == '/points'
