"""Export to StableHLO: the file runs with jax alone; bad arguments are refused."""

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest
from flax import traverse_util
from jax import export as jax_export
from support import weight_files
from support.paths import FIXTURES, ROOT

import resnet_jax
from resnet_jax.checkpoints.trained_network import TrainedNetwork
from resnet_jax.config import data_sets, schema
from resnet_jax.errors import InputError
from resnet_jax.inference import export
from resnet_jax.models import resnet
from resnet_jax.training import imported_run

BASIC = FIXTURES / 'timm' / 'basic.safetensors'

WITHOUT_THIS_PROJECT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('flax', 'resnet_jax', 'optax', 'orbax', 'tensorflow', 'clu'):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run, its two exported files and a photograph."""
    folder = tmp_path_factory.mktemp('export')
    imported_run.import_weights('timm', BASIC, folder / 'run')
    written = resnet_jax.Run(folder / 'run').export(folder / 'model.stablehlo')
    assert written == [folder / 'model.stablehlo', folder / 'model.json']
    noise = np.random.default_rng(0).integers(0, 256, (30, 26, 3), np.uint8)
    PIL.Image.fromarray(noise).resize((520, 610)).save(folder / 'cat.png')
    return folder


def run_alone(folder, program):
    """Runs a program that can import neither this project nor flax, and returns what it prints."""
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_THIS_PROJECT + program],
        cwd=folder,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != 'PYTHONPATH'},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jax_alone_computes_equal_probabilities_for_any_number_of_images(folder):
    images = np.random.default_rng(1).integers(0, 256, (5, 224, 224, 3), np.uint8)
    np.save(folder / 'images.npy', images)
    printed = run_alone(
        folder,
        """
import jax.export, numpy as np
for name in ('flax', 'resnet_jax'):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + ' was there')
model = jax.export.deserialize(bytearray(open('model.stablehlo', 'rb').read()))
images = np.load('images.npy')
np.save('probabilities.npy', model.call(images))
print([str(array) for array in model.in_avals], [str(array) for array in model.out_avals])
print(len(model.call(images[:1])), model.platforms)
""",
    )
    assert printed.splitlines() == [
        "['uint8[N,224,224,3]'] ['float32[N,5]']",
        "1 ('cpu', 'cuda')",
    ]
    predictor = resnet_jax.Run(folder / 'run').predictor()
    expected = [
        [p.probability for p in sorted(row)] for row in predictor.predict(list(images_at(images)))
    ]
    np.testing.assert_allclose(np.load(folder / 'probabilities.npy'), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 1e-4


def images_at(images):
    """Yields larger images, which the predictor's resize and crop turn into these images."""
    for image in images:
        yield np.pad(image, ((16, 16), (16, 16), (0, 0)))


def test_the_lines_in_the_docs_run_and_agree_with_predict(folder):
    text = (ROOT / 'docs' / 'weights.md').read_text()
    [lines] = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 8
    printed = run_alone(folder, lines.replace('cat.jpg', 'cat.png'))
    name, probability = printed.split()
    [predictions] = resnet_jax.Run(folder / 'run').predictor().predict([folder / 'cat.png'])
    assert name == predictions[0].name
    assert float(probability) == pytest.approx(predictions[0].probability, abs=0.02)


def test_the_json_says_what_a_user_needs(folder):
    assert json.loads((folder / 'model.json').read_text()) == {
        'class_names': list('01234'),
        'preprocessing': {
            'color': 'RGB',
            'dtype': 'uint8',
            'resize_short_side': 256,
            'interpolation': 'bilinear',
            'antialias': True,
            'centre_crop': 224,
            'exif_orientation': False,
        },
        'normalisation_inside': {'mean': [127.5] * 3, 'std': [127.5] * 3},
        'platforms': ['cpu', 'cuda'],
        'step': 0,
        'jax': '0.10.2',
    }


def trained_model(variant, num_names, size=32, **fields):
    """Returns a network whose last maps are so small that CPUs compute them in another way."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.model.update({'depth': 8, 'width': 4, 'variant': variant, 'num_classes': 12} | fields)
    config.data.image_size = config.data.resize_size = size
    model = resnet.create_model(config, num_names)
    variables = traverse_util.unflatten_dict(weight_files.random_variables(model))
    return TrainedNetwork(config, tuple(map(str, range(num_names))), model, variables, 3)


@pytest.mark.parametrize('variant', ['mxnet', 'timm_d', 'keras'])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_small_maps_export_for_several_platforms(variant, dtype):
    trained = trained_model(variant, 10, size=8, stem='imagenet', dtype=dtype)
    exported = export.export_probabilities(trained, ('cpu', 'cuda', 'tpu'))
    again = jax_export.deserialize(bytearray(exported.serialize()))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    logits = jax.jit(trained.model.apply, static_argnames='train')(
        trained.variables, images, train=False
    )
    expected = jax.nn.softmax(logits)[:, :10]
    tolerance = {'float32': 1e-6, 'bfloat16': 1e-2}[dtype]
    np.testing.assert_allclose(again.call(images), expected, atol=tolerance)


def test_outputs_without_a_class_name_are_dropped():
    trained = trained_model('mxnet', 10)
    exported = export.export_probabilities(trained, ('cpu',))
    assert str(exported.out_avals[0]) == 'float32[N,10]'


def test_a_pipe_is_not_replaced_by_a_file(folder, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    os.mkfifo(tmp_path / 'other.json')
    for output in ('pipe', 'other.stablehlo'):
        with pytest.raises(InputError, match='expected a regular file .*, found a pipe'):
            resnet_jax.Run(folder / 'run').export(tmp_path / output)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'file_format': 'onnx'}, "'onnx': expected one of stablehlo, safetensors"),
        ({'platforms': ('gpu',)}, "'gpu': expected one or more of cpu, cuda"),
        ({'platforms': ()}, 'expected one or more of cpu, cuda'),
        ({'output': 'nowhere/model.stablehlo'}, 'folder that exists'),
        ({'output': '.'}, 'name of a file'),
        ({'output': 'model.json'}, 'a suffix other than .json'),
        ({'checkpoint': 7}, r'these steps: 0 \(epoch 0\)'),
    ],
)
def test_arguments_that_cannot_be_exported_are_refused(folder, arguments, message):
    before = sorted(folder.iterdir())
    output = folder / arguments.pop('output', 'other.stablehlo')
    with pytest.raises(InputError, match=message):
        resnet_jax.Run(folder / 'run').export(output, **arguments)
    assert sorted(folder.iterdir()) == before
