"""Four simulated devices and tiny networks for every test."""

import os
import tempfile

os.environ.setdefault('NPROC', '32')  # threads for collectives among the simulated devices
os.environ['JAX_NUM_CPU_DEVICES'] = '4'
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
os.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'
# Tests that compile the same share it, commands in processes of their own too.
os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='resnet_jax_compiled')
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'

import atexit
import shutil
from pathlib import Path

import jax
import pytest

from resnet_jax.config import data_sets, schema

atexit.register(shutil.rmtree, os.environ['JAX_COMPILATION_CACHE_DIR'], ignore_errors=True)


@pytest.fixture(autouse=True, scope='module')
def compiled_programs_are_freed():
    """Drops the compiled programs of a module of tests when it ends.

    XLA maps the machine code of each into dozens of areas of memory. All tests together would have
    more than Linux grants a process (`vm.max_map_count`, 65530), and then the next compilation
    ends in a segmentation fault.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def tiny_config():
    """Digits, an 8-layer CIFAR network of width 4, two epochs: a few seconds of training."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.num_epochs = 2
    config.model.depth = 8
    config.model.width = 4
    config.model.batch_norm_momentum = 0.9
    config.batch_size = 128
    config.ema_decay = 0.0
    config.optimizer.learning_rate = 0.02
    config.schedule.name = 'step'
    config.schedule.boundaries_epochs = (1,)
    config.schedule.warmup_epochs = 3.0
    config.log_every_steps = 11
    return config


@pytest.fixture(scope='session')
def shared_data():
    """Real weights and images next to the project, where there are any."""
    folder = Path(__file__).parents[2] / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('the shared real weights and images are not next to this project')
    return folder
