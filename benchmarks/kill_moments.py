# SPDX-License-Identifier: Apache-2.0
"""
Kill what writes at random moments: what is on disk is whole or absent, and the next one goes on.

`python benchmarks/kill_moments.py [--moments 50] [--kinds checkpoint weights bag frames ...]`

A process writes one kind of file again and again and is ended by SIGKILL at a moment drawn within
the time that one takes. Then what has the file's name must be read to its end, and written once
more it must lie alone: what was killed has left nothing. The last kind, run, is all of a training
from a recording on, which is begun anew or, where it had begun ("whole"), resumed after the kill,
and must reach its end with all of its files. A row that fails ends the program.
"""

from collections.abc import Callable
import contextlib
from functools import partial
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from interleaved import parser_of, write_figures

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / 'adabins_ros' / 'samples' / 'living_room.mcap'
RUN = (
    *('data.size=[64,96]', 'data.batch_size=2', 'data.workers=0', 'data.every=6'),
    *('trainer.accelerator=cpu', 'trainer.max_steps=8', 'trainer.checkpoint_every=1'),
)


class Kind(NamedTuple):
    """Write a file or folder of this name, and read it to its end: its number of parts."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], int]


def kinds() -> dict[str, Kind]:
    """Return what is written, by name."""
    from adabins_ros.frames import FolderSource
    from adabins_ros.inference.export import write_onnx
    from adabins_ros.model import load_model, save_checkpoint
    from adabins_ros.recordings import extract_frames, open_recording, RecordingWriter
    from adabins_ros.training.checkpoints import WholeFileCheckpointIO
    import onnx
    import torch

    torch.set_num_threads(1)
    network = load_model('adabins-lite')

    def bag(path: Path) -> None:
        path.unlink(missing_ok=True)
        with open_recording(SAMPLE) as recording, RecordingWriter(path) as writer:
            for message in recording.messages():
                writer.write(message.topic, message.msgtype, message.cdr(), log_ns=message.log_ns)

    def read_bag(path: Path) -> int:
        with open_recording(path) as recording:
            return sum(1 for _ in recording.messages())

    def frames(path: Path) -> None:
        # Away in one step: no kill must meet it half removed.
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name('removed'))
        shutil.rmtree(path.with_name('removed'), ignore_errors=True)
        extract_frames([SAMPLE], path.parent, rate=2.0)

    def read_frames(path: Path) -> int:
        source = FolderSource(path, recording=True)
        return sum(source[index].depth.size > 0 for index in range(len(source)))

    def read_onnx(path: Path) -> int:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        return len(model.graph.node)

    return {
        'checkpoint': Kind(
            'last.ckpt',
            lambda path: WholeFileCheckpointIO().save_checkpoint(network.state_dict(), path),
            lambda path: len(torch.load(path, weights_only=True)),
        ),
        'weights': Kind(
            'best.safetensors',
            lambda path: save_checkpoint(network, path, overwrite=True),
            lambda path: len(load_model(path).state_dict()),
        ),
        'bag': Kind('copy.mcap', bag, read_bag),
        'frames': Kind(SAMPLE.stem, frames, read_frames),
        'export': Kind('best.onnx', lambda path: write_onnx(network, path), read_onnx),
    }


def killed_once(kind: Kind, path: Path, after_s: float) -> None:
    """Let a process write again and again, and kill it after some time."""
    child = os.fork()
    if not child:
        while True:
            kind.write(path)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f'{path.name}: the process ended by itself, status {status}')


def written_once(kind: Kind, path: Path) -> int:
    """Write in a process of its own, as runtimes start threads; return its status."""
    child = os.fork()
    if not child:
        kind.write(path)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def measure(kind: Kind, moments: int, chance: random.Random) -> dict[str, object]:
    """Kill the writing of one kind at so many moments; return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / kind.name
        start = time.perf_counter()
        written_once(kind, path)
        once_s = time.perf_counter() - start
        parts, whole, left = kind.read(path), 0, 0
        for _ in range(moments):
            killed_once(kind, path, chance.uniform(0.0, 2 * once_s))
            names = {entry.name for entry in Path(folder).iterdir()}
            left += bool(names - {kind.name})
            if kind.name in names:
                whole += 1
                if kind.read(path) != parts:
                    sys.exit(f'{kind.name} has not all of its {parts} parts')
            if written_once(kind, path):
                sys.exit(f'{kind.name}: the next start did not go on')
            names = {entry.name for entry in Path(folder).iterdir()}
            if names != {kind.name}:
                sys.exit(f'{kind.name}: the next start left of the killed one {names}')
    return {'seconds': round(once_s, 2), 'killed': moments, 'whole': whole, 'left over': left}


def training(path: Path, model: Path) -> subprocess.Popen[bytes]:
    """Begin a run in a folder, or go on with the one that is there."""
    words = ['--output', path]
    if (path / 'config.yaml').exists():
        words += ['--resume']
    else:
        words += ['--bags', SAMPLE, *RUN, f'network.model={model}']
    program = [sys.executable, '-m', 'adabins_ros.cli', 'train', *map(str, words)]
    with (path.parent / 'said.txt').open('wb') as said:
        return subprocess.Popen(
            program, cwd=ROOT, stdout=said, stderr=said, start_new_session=True
        )


def trained(path: Path, model: Path) -> set[str]:
    """Train to the end; return the names of what lies in the run's folder."""
    status = training(path, model).wait()
    if status:
        sys.exit(f'training ended with {status}: {(path.parent / "said.txt").read_text()}')
    return {entry.name for entry in path.iterdir()}


def kill_training(moments: int, chance: random.Random) -> dict[str, object]:
    """Kill a run at so many moments, and let the next start do what is left of it."""
    from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, save_checkpoint
    import torch

    tiny = (ROOT / 'test' / 'training' / 'tiny_network.json').read_text()
    begun = left = 0
    with tempfile.TemporaryDirectory() as folder:
        model, path = Path(folder) / 'tiny.safetensors', Path(folder) / 'run'
        save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(tiny)), model)
        start = time.perf_counter()
        whole = trained(path, model)
        once_s = time.perf_counter() - start
        for _ in range(moments):
            shutil.rmtree(path)
            process = training(path, model)
            time.sleep(chance.uniform(0.0, once_s))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            names = {entry.name for entry in path.iterdir()} if path.exists() else set()
            begun += 'config.yaml' in names
            left += bool(names - whole)
            if 'last.ckpt' in names:
                torch.load(path / 'last.ckpt', weights_only=False)
            if (names := trained(path, model)) != whole:
                sys.exit(f'run: {names ^ whole} is too much or missing after the next start')
            load_model(path / 'best.safetensors')
    return {'seconds': round(once_s, 2), 'killed': moments, 'whole': begun, 'left over': left}


def main() -> None:
    """Kill, look, and print a table."""
    parser = parser_of(__doc__)
    parser.add_argument('--moments', type=int, default=50, help='of each kind')
    parser.add_argument('--kinds', nargs='+', metavar='KIND', help='all by default')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    chance, figures = random.Random(options.seed), {}
    print(f'{"":12}{"one takes":>12}{"killed":>8}{"whole":>8}{"absent":>8}{"left over":>11}')
    measures: dict[str, Callable[[], dict[str, object]]] = {
        name: partial(measure, kind, options.moments, chance) for name, kind in kinds().items()
    }
    measures['run'] = partial(kill_training, options.moments, chance)
    for name in options.kinds or measures:
        found = figures[name] = measures[name]()
        absent = options.moments - int(str(found['whole']))
        print(
            f'{name:12}{found["seconds"]:>10} s{found["killed"]:>8}{found["whole"]:>8}'
            f'{absent:>8}{found["left over"]:>11}',
            flush=True,
        )
    write_figures(options.json, 'kill_moments', figures)


if __name__ == '__main__':
    main()
