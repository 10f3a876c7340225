"""Four simulated devices and tiny networks for every test."""

import os

os.environ.setdefault('NPROC', '32')  # threads for collectives among the simulated devices
os.environ['JAX_NUM_CPU_DEVICES'] = '4'
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
os.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'

from pathlib import Path

import jax
import pytest

from resnet_jax import base_config


@pytest.fixture(scope='session', autouse=True)
def _compile_once(tmp_path_factory):
    """Lets tests that train the same network share its compiled programs."""
    jax.config.update('jax_compilation_cache_dir', str(tmp_path_factory.mktemp('compiled')))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


@pytest.fixture
def tiny_config():
    """Digits, an 8-layer CIFAR network of width 4, two epochs: a few seconds of training."""
    config = base_config.use_data(base_config.get_config(), 'digits')
    config.num_epochs = 2
    config.model.depth = 8
    config.model.width = 4
    config.schedule.boundaries_epochs = (1,)
    return config


@pytest.fixture(scope='session')
def shared_data():
    """Real weights and images beside the project, where there are some."""
    folder = Path(__file__).parents[2] / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('the shared real weights and images are not beside this project')
    return folder
