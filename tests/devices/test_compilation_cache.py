"""Where compiled programs are kept, and that they are taken from there."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from support.paths import ROOT

from resnet_jax.devices import compilation_cache

PROGRAM = """
import sys
import jax
from resnet_jax.devices import backend, compilation_cache, parallel
compilation_cache.use(sys.argv[1])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
mesh = backend.start_devices(1)
step = parallel.p_map(lambda state, batch: state + batch.sum(), mesh, donate=True)
before = parallel.replicate(jax.numpy.ones((64, 64)), mesh)
after = step(before, parallel.shard(jax.numpy.ones((8, 64, 64)), mesh))
print(float(after[0, 0]), before.is_deleted())
print(sum('cache_hits' in name for name in events), sum('cache_misses' in name for name in events))
"""


@pytest.fixture
def restored_config():
    names = (
        'jax_compilation_cache_dir',
        'jax_compilation_cache_max_size',
        'jax_persistent_cache_min_compile_time_secs',
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def run(folder):
    unset = ('NPROC', 'XLA_FLAGS', 'JAX_NUM_CPU_DEVICES', 'JAX_COMPILATION_CACHE_DIR')
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, str(folder)],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in unset},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_second_process_compiles_nothing_computes_the_same_and_donates(tmp_path):
    result, counts = run(tmp_path)
    again, counts_again = run(tmp_path)
    assert result == again == '32769.0 True'
    assert counts.startswith('0 ') and counts != '0 0'
    assert counts_again.endswith(' 0') and counts_again != '0 0'


def test_each_kind_of_cpu_has_a_folder_that_only_its_owner_may_write(
    tmp_path, monkeypatch, restored_config
):
    compilation_cache.use(str(tmp_path / 'cache'))
    [here] = (tmp_path / 'cache').iterdir()
    assert jax.config.jax_compilation_cache_dir == str(here)
    assert here.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(Path, 'read_text', lambda *_, **__: 'model name : another\nflags : fpu')
    compilation_cache.use(str(tmp_path / 'cache'))
    assert len(list((tmp_path / 'cache').iterdir())) == 2


def test_the_size_is_limited_and_half_written_programs_are_deleted(tmp_path, restored_config):
    compilation_cache.use(str(tmp_path))
    [folder] = tmp_path.iterdir()
    assert jax.config.jax_compilation_cache_max_size == 4 * 2**30
    for name in ('whole-cache', 'whole-atime', 'torn-cache'):
        (folder / name).write_bytes(b'x')
    compilation_cache.use(str(tmp_path))
    assert sorted(path.name for path in folder.iterdir()) == ['whole-atime', 'whole-cache']


def test_nothing_is_kept_where_no_folder_is_named(restored_config):
    compilation_cache.use('')
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, caplog, restored_config):
    (tmp_path / 'file').write_text('')
    compilation_cache.use(str(tmp_path / 'file' / 'cache'))
    assert jax.config.jax_compilation_cache_dir is None
    assert 'expected a folder that can be written, found: Not a directory' in caplog.text


def test_a_folder_whose_name_is_not_utf8_is_a_warning(tmp_path, caplog, restored_config):
    compilation_cache.use(f'{tmp_path}/caf\udce9')
    assert jax.config.jax_compilation_cache_dir is None
    assert 'expected a folder that can be written, found: ' in caplog.text
    assert not list(tmp_path.iterdir())


def test_the_default_is_in_the_users_cache(monkeypatch):
    for name in ('JAX_COMPILATION_CACHE_DIR', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    assert compilation_cache.default_folder() == '~/.cache/resnet_jax'
    monkeypatch.setenv('XDG_CACHE_HOME', '/caches')
    assert compilation_cache.default_folder() == '/caches/resnet_jax'
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '/chosen')
    assert compilation_cache.default_folder() == '/chosen'


@pytest.mark.parametrize('command', ['main', 'evaluate', 'predict'])
def test_the_commands_that_compile_have_the_flag(command):
    done = subprocess.run(
        [sys.executable, '-m', f'resnet_jax.{command}', '--helpfull'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert '--compilation_cache_dir' in done.stdout
