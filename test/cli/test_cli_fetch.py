# SPDX-License-Identifier: Apache-2.0
"""`adabins fetch` from a hub on this machine: honest, broken, slow and lying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import threading

from adabins_ros import DepthPredictor
from adabins_ros.model import AdaBins, AdaBinsConfig, ModelError, save_checkpoint
from adabins_ros.model.known_weights import known_weights
import pytest
import torch
import yaml

Done = subprocess.CompletedProcess[str]
HALF = 12_000_000  # more than huggingface_hub reads at once, and writes
LARGE = random.Random(0).randbytes(2 * HALF)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Hub(ThreadingHTTPServer):
    """What the hub answers, with a fault for each of the next downloads."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Answer)
        self.files = {'mirror/AdaBins/nyu.safetensors': b''}
        self.faults: list[str] = []
        self.asked: list[int] = []
        self.portal = False
        self.half_sent, self.over = threading.Event(), threading.Event()


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:  # noqa: N802
        self.head()

    def head(self, start: int = 0) -> bytes | None:
        content = self.server.files.get(self.path.replace('/resolve/main', '')[1:])
        if self.server.portal:
            self.send_response(200)
        elif content is None:
            self.send_response(404)
            self.send_header('X-Error-Code', 'EntryNotFound')
        else:
            self.send_response(206 if start else 200)
            self.send_header('ETag', f'"{sha256(content)}"')
            self.send_header('X-Linked-Size', str(len(content)))
            self.send_header('Content-Length', str(len(content) - start))
        self.send_header('X-Repo-Commit' if not self.server.portal else 'X-Portal', 'c' * 40)
        self.end_headers()
        return content

    def do_GET(self) -> None:  # noqa: N802
        wanted = self.headers.get('Range', 'bytes=0-')
        start = int(wanted.removeprefix('bytes=').partition('-')[0])
        content = self.head(start)
        if content is None:
            return
        content = content[start:]
        self.server.asked.append(start)
        fault = self.server.faults.pop(0) if self.server.faults else ''
        if fault == 'lies':
            content = content[::-1]
        if fault in ('breaks', 'stalls'):
            self.wfile.write(content[:HALF])
            self.server.half_sent.set()
            if fault == 'stalls':
                self.server.over.wait(60)
            return
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def environment(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give a user that knows this hub alone; this process is that user, too."""
    settings = {
        'HF_ENDPOINT': f'http://127.0.0.1:{hub.server_port}',
        'HF_HOME': str(tmp_path / 'huggingface'),
        'HF_HUB_DOWNLOAD_TIMEOUT': '3',
        'ADABINS_CACHE': str(tmp_path / 'cache'),
        'XDG_CONFIG_HOME': str(tmp_path / 'config'),
        'NO_PROXY': '*',
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    return dict(os.environ)


@pytest.fixture
def fetch(environment: dict[str, str]) -> Callable[..., Done]:
    """Return a function that runs `adabins fetch` in a process of its own."""

    def run(*words: object, **settings: str) -> Done:
        return subprocess.run(
            [sys.executable, '-m', 'adabins_ros.cli', 'fetch', *map(str, words)],
            env={**environment, **settings},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., None]:
    """Return a function that writes a user's table, in which adabins-nyu is the mirror's file."""

    def write(content: bytes, **changes: object) -> None:
        row = {
            'source': 'hf:mirror/AdaBins',
            'file': 'nyu.safetensors',
            'licence': 'CC0',
            'size': len(content),
            'sha256': sha256(content),
        }
        path = tmp_path / 'config' / 'adabins_ros' / 'weights.yaml'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({'adabins-nyu': {**row, **changes}}))

    return write


@pytest.fixture(scope='module')
def model(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (repository / 'test/training/tiny_network.json').read_text()
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(text)), path)
    return path


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / 'cache').rglob('*') if path.is_file())


def test_the_authors_files_are_known_and_refused_until_they_are_there(environment) -> None:
    row = known_weights()['adabins-nyu']
    assert (row.repository, row.file) == ('deforum/AdaBins', 'AdaBins_nyu.pt')
    assert row.size == 940_558_786
    assert row.sha256 == '3c917d1b86d058918d4055e70b2cdb9696ec4967bb2d8f05c0051263c1ac9641'
    words = r'not here; run `adabins fetch adabins-nyu` \(941 MB\).*untrained=True or --untrained'
    with pytest.raises(ModelError, match=words):
        DepthPredictor.from_pretrained('adabins-nyu')


def test_what_was_fetched_is_loaded_by_its_name(hub, fetch, table, model, tmp_path) -> None:
    hub.files['mirror/AdaBins/nyu.safetensors'] = model.read_bytes()
    table(model.read_bytes())
    # As if there were a terminal, for the progress bar.
    done = fetch('adabins-nyu', TQDM_POSITION='-1')
    assert done.returncode == 0, done.stderr
    assert done.stderr.index('licence: CC0') < done.stderr.index('nyu.safetensors: ')
    assert '100%' in done.stderr
    assert kept(tmp_path) == ['nyu.safetensors']
    predictor = DepthPredictor.from_pretrained('adabins-nyu', device='cpu', engine='torch')
    assert predictor.config.name == 'tiny'
    random = DepthPredictor.from_pretrained('adabins-lite', engine='torch', untrained=True)
    assert not random.is_trained
    asked = len(hub.asked)
    assert fetch('adabins-nyu').returncode == 0
    assert len(hub.asked) == asked


def test_anybodys_file_on_the_hub_needs_no_row(hub, fetch, model, environment, tmp_path) -> None:
    name = 'hf:me/kitchen/runs/1/best.safetensors'
    hub.files[name[3:]] = model.read_bytes()
    with pytest.raises(ModelError, match=f'adabins fetch {name}'):
        DepthPredictor.from_pretrained(name)
    done = fetch(name)
    assert done.returncode == 0, done.stderr
    assert 'licence: see https://huggingface.co/me/kitchen' in done.stderr
    assert DepthPredictor.from_pretrained(name, engine='torch').config.name == 'tiny'
    hub.files[name[3:]] = b'<html>Log in</html>'
    done = fetch(name)
    assert done.returncode == 1
    assert 'neither safetensors nor a torch checkpoint' in done.stderr
    assert kept(tmp_path) == ['best.safetensors']
    assert DepthPredictor.from_pretrained(name, engine='torch').config.name == 'tiny'


def test_ctrl_c_and_the_same_command_again_goes_on_where_it_stopped(
    hub, fetch, table, environment, tmp_path
) -> None:
    hub.files['mirror/AdaBins/nyu.safetensors'] = LARGE
    table(LARGE)
    hub.faults = ['stalls']
    patient = {**environment, 'HF_HUB_DOWNLOAD_TIMEOUT': '60'}
    command = [sys.executable, '-m', 'adabins_ros.cli', 'fetch', 'adabins-nyu']
    with subprocess.Popen(command, env=patient, stderr=subprocess.PIPE, text=True) as process:
        assert hub.half_sent.wait(60)
        (folder,) = (tmp_path / 'cache' / 'weights').iterdir()
        while not any(path.stat().st_size for path in folder.glob('partial-*')):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.endswith('stopped: the same command goes on from there\n')
    assert fetch('adabins-nyu').returncode == 0
    assert hub.asked[0] == 0 < hub.asked[1]
    assert kept(tmp_path) == ['nyu.safetensors']


@pytest.mark.parametrize('fault', ['breaks', 'stalls'])
def test_a_broken_or_stalled_connection_is_taken_up_again(
    fault: str, hub, fetch, table, tmp_path
) -> None:
    hub.files['mirror/AdaBins/nyu.safetensors'] = LARGE
    table(LARGE)
    hub.faults = [fault]
    done = fetch('adabins-nyu')
    assert done.returncode == 0, done.stderr
    assert hub.asked[0] == 0 < hub.asked[1]
    assert (tmp_path / 'cache/weights/adabins-nyu/nyu.safetensors').read_bytes() == LARGE


def test_a_lie_is_not_kept(hub, fetch, table, model, tmp_path) -> None:
    content = model.read_bytes()
    hub.files['mirror/AdaBins/nyu.safetensors'] = content
    table(content)
    hub.faults = ['lies']
    done = fetch('adabins-nyu')
    assert done.returncode == 1
    assert f'its SHA-256 is {sha256(content[::-1])}, and {sha256(content)} is exp' in done.stderr
    assert kept(tmp_path) == []
    assert fetch('adabins-nyu').returncode == 0


def test_a_file_of_another_size_is_not_even_begun(hub, fetch, table, tmp_path) -> None:
    hub.files['mirror/AdaBins/nyu.safetensors'] = LARGE[:1000]
    table(LARGE)
    done = fetch('adabins-nyu')
    assert done.returncode == 1
    assert f'has 1000 bytes where {len(LARGE)} are expected' in done.stderr
    assert not hub.asked


@pytest.mark.parametrize(('portal', 'words'), [(False, 'Not Found'), (True, 'not the hub')])
def test_no_file_and_no_hub_are_said_in_a_line(portal, words, hub, fetch, environment) -> None:
    hub.portal = portal
    done = fetch('hf:mirror/AdaBins/none.pt')
    assert done.returncode == 1
    (said,) = (line for line in done.stderr.splitlines() if line.startswith('adabins fetch:'))
    assert 'hf:mirror/AdaBins/none.pt can not be had from http://127.0.0.1' in said
    assert words.lower() in said.lower()


def test_without_the_internet_what_huggingfaces_cache_has_is_taken(
    hub, fetch, table, model, environment, tmp_path
) -> None:
    hub.files['mirror/AdaBins/nyu.safetensors'] = model.read_bytes()
    table(model.read_bytes())
    done = fetch('adabins-nyu', HF_HUB_OFFLINE='1')
    assert done.returncode == 1
    assert 'HF_HUB_OFFLINE' in done.stderr
    code = "import huggingface_hub as h; h.hf_hub_download('mirror/AdaBins', 'nyu.safetensors')"
    subprocess.run([sys.executable, '-c', code], env=environment, check=True, timeout=60)
    done = fetch('adabins-nyu', HF_HUB_OFFLINE='1')
    assert done.returncode == 0, done.stderr
    predictor = DepthPredictor.from_pretrained('adabins-nyu', device='cpu', engine='onnx')
    assert predictor.config.name == 'tiny'
    shutil.rmtree(tmp_path / 'huggingface')
    with pytest.raises(ModelError, match='not here'):
        DepthPredictor.from_pretrained('adabins-nyu')


def test_a_file_got_by_hand_is_checked_and_taken(fetch, table, model, tmp_path) -> None:
    done = fetch('adabins-kitti')
    assert done.returncode == 1
    assert 'https://drive.google.com/drive/folders/' in done.stderr
    assert 'adabins fetch adabins-kitti --file AdaBins_kitti.pt' in done.stderr
    table(model.read_bytes())
    wrong = tmp_path / 'wrong.safetensors'
    wrong.write_bytes(model.read_bytes()[:-1])
    done = fetch('adabins-nyu', '--file', wrong)
    assert done.returncode == 1
    assert f'{wrong} has {wrong.stat().st_size} bytes where' in done.stderr
    assert '/dev/null is no file' in fetch('adabins-nyu', '--file', '/dev/null').stderr
    done = fetch('adabins-nyu', '--file', model)
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path) == ['nyu.safetensors']


def test_wrong_names_and_tables_are_named(fetch, table, tmp_path) -> None:
    assert 'adabins-nyu, adabins-kitti' in fetch('adabins-huge').stderr
    assert 'must be hf:OWNER/NAME/FILE' in fetch('hf:me/../../etc/passwd').stderr
    table(b'', size=-3)
    said = fetch().stderr
    assert 'weights.yaml: size: Input should be greater than 0' in said
    table(b'', size=None, file='../x')
    assert 'weights.yaml: file: String should match' in fetch('adabins-nyu').stderr
