"""Benchmark of the training input pipeline against other pipelines, on the same images.

    python benchmarks/input_pipeline.py [--images=DIR] [--rounds=5] [--json=FILE]

Every pipeline reads JPEGs, crops a random window, resizes it to 224 px, mirrors half of the images
and makes batches of 64. It uses one thread for each core that this process can use (choose the
cores with `taskset -c 0,1`). The pipelines take turns; a round times 40 batches of each, after two
that are not timed. Without `--images`, the script makes JPEGs of 500x375 px and about 107 KB, the
average of ImageNet, from the photographs that come with scikit-learn. The other pipelines need `pip
install opencv-python-headless pillow`. One of them also needs `torch torchvision`; without these
packages it is skipped.
"""

import argparse
import functools
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image

from resnet_jax.config import schema
from resnet_jax.console import terminal
from resnet_jax.console.signals import StopRequest
from resnet_jax.data import pipeline
from resnet_jax.data.preparation import prepare
from resnet_jax.data.preparation.encoding import Encoding
from resnet_jax.data.sources import registry

BATCH_SIZE, SIZE, MIN_IMAGES = 64, 224, 1000
WARM_UP_BATCHES, TIMED_BATCHES = 2, 40
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
OURS = ('resnet_jax, JPEG', 'resnet_jax, 256 px quality 90', 'resnet_jax, 256 px raw')


def make_images(folder: Path) -> list[Path]:
    """Writes 64 windows of scikit-learn's photographs, as large as ImageNet's images on average."""
    from sklearn import datasets

    rng = np.random.default_rng(0)
    photographs = datasets.load_sample_images().images
    paths = []
    for i in range(64):
        photograph = photographs[i % len(photographs)]
        height = int(rng.integers(240, 427))
        width = height * 4 // 3
        top, left = rng.integers(427 - height + 1), rng.integers(640 - width + 1)
        window = Image.fromarray(photograph[top : top + height, left : left + width])
        image = np.asarray(window.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        grain = rng.normal(0, 9, image.shape[:2] + (1,))  # makes files of about 107 KB
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
        paths.append(folder / f'{i:02d}.jpg')
        Image.fromarray(image).save(paths[-1], quality=92)
    return paths


def link_images(paths: list[Path], folder: Path) -> list[str]:
    """Creates and returns at least `MIN_IMAGES` links to the images: a data set of ten classes."""
    links = []
    for i in range(max(MIN_IMAGES, len(paths))):
        link = folder / 'train' / f'class{i % 10}' / f'{i:06d}.jpg'
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(paths[i % len(paths)])
        links.append(str(link))
    return links


def flax_batches(links: list[str], num_threads: int) -> Iterator:
    """Returns batches as in flax's ImageNet example: bicubic, float32, normalised on the host."""
    del num_threads  # tf.data chooses their number

    def central(encoded: tf.Tensor) -> tf.Tensor:
        height, width = tf.unstack(tf.image.extract_jpeg_shape(encoded)[:2])
        side = tf.cast(
            SIZE / (SIZE + 32) * tf.cast(tf.minimum(height, width), tf.float32), tf.int32
        )
        window = tf.stack([(height - side + 1) // 2, (width - side + 1) // 2, side, side])
        return resized(tf.image.decode_and_crop_jpeg(encoded, window, channels=3))

    def resized(image: tf.Tensor) -> tf.Tensor:
        return tf.image.resize([image], [SIZE, SIZE], method='bicubic')[0]

    def prepared(path: tf.Tensor) -> tf.Tensor:
        encoded = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(encoded)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], extent[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
        whole = tf.reduce_all(tf.shape(image) == tf.image.extract_jpeg_shape(encoded))
        image = tf.cond(whole, lambda: central(encoded), lambda: resized(image))
        image = tf.image.random_flip_left_right(tf.reshape(image, [SIZE, SIZE, 3]))
        return (image - tf.constant(MEAN)) / tf.constant(STD)

    dataset = tf.data.Dataset.from_tensor_slices(links).repeat().shuffle(16 * BATCH_SIZE, seed=0)
    dataset = dataset.map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(BATCH_SIZE, drop_remainder=True).prefetch(10)
    return dataset.as_numpy_iterator()


def random_window(height: int, width: int, rng: random.Random) -> tuple[int, int, int, int]:
    """Returns left, top, width and height as torchvision's `RandomResizedCrop` draws them."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.randint(0, width - w), rng.randint(0, height - h), w, h
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side, side


def prepare_with_pillow(path: str, rng: random.Random) -> np.ndarray:
    image = Image.open(path).convert('RGB')
    left, top, width, height = random_window(image.height, image.width, rng)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def prepare_with_opencv(path: str, rng: random.Random) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    left, top, width, height = random_window(*image.shape[:2], rng)
    image = cv2.resize(image[top : top + height, left : left + width], (SIZE, SIZE))
    return cv2.flip(image, 1) if rng.random() < 0.5 else image


def thread_batches(prepare_one: Callable, links: list[str], num_threads: int) -> Iterator:
    """Yields batches that plain threads make, a few of them in advance."""
    rng = random.Random(0)

    def prepare_path(path: str) -> np.ndarray:
        return prepare_one(path, random.Random(path))

    with ThreadPoolExecutor(num_threads) as pool:
        waiting = []
        while True:
            while len(waiting) < 3:
                chosen = rng.choices(links, k=BATCH_SIZE)
                waiting.append([pool.submit(prepare_path, path) for path in chosen])
            yield np.stack([future.result() for future in waiting.pop(0)])


def torch_batches(links: list[str], num_threads: int) -> Iterator:
    """Returns batches of torchvision's reference transforms, from a `DataLoader` with processes."""
    import torch
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
        ]
    )

    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1000 * len(links)

        def __getitem__(self, index: int) -> 'torch.Tensor':
            return transform(Image.open(links[index % len(links)]).convert('RGB'))

    loader = torch.utils.data.DataLoader(
        Photographs(), BATCH_SIZE, shuffle=True, num_workers=num_threads
    )
    return iter(loader)


def our_batches(source: str, folder: Path, num_threads: int) -> Iterator:
    """Returns this project's training batches, from a folder of images or a prepared data set."""
    config = our_config(source, folder)
    config.data.num_threads = num_threads
    examples = registry.load_source(config, 'train')
    return pipeline.train_batches(examples, config, start_step=0)


def our_config(source: str, folder: Path):
    config = schema.get_config()
    config.num_epochs = 1_000_000
    config.batch_size = BATCH_SIZE
    config.data.source, config.data.name, config.data.dir = source, 'photographs', str(folder)
    config.data.validation_split = 'train'
    return config


def list_pipelines(links: list[str], folder: Path, num_threads: int) -> dict[str, Callable]:
    """Returns functions that make an endless iterator over batches, by name; ours come last."""
    peers = {
        'flax example, tf.data': flax_batches,
        'Pillow, threads': functools.partial(thread_batches, prepare_with_pillow),
        'OpenCV, threads': functools.partial(thread_batches, prepare_with_opencv),
    }
    try:
        import torchvision  # noqa: F401
    except ImportError:
        print('torchvision is not installed: its pipeline is skipped', file=sys.stderr)
    else:
        peers['torchvision, DataLoader'] = torch_batches
    pipelines = {name: functools.partial(peer, links, num_threads) for name, peer in peers.items()}
    jpeg, quality_90, raw = OURS
    pipelines[jpeg] = functools.partial(our_batches, 'folder', folder, num_threads)
    screen = terminal.Terminal(sys.stderr)
    for name, kind in ((quality_90, 'jpeg'), (raw, 'raw')):
        config, output = our_config('folder', folder), folder.parent / kind
        prepare.prepare(config, output, Encoding(kind), screen, StopRequest())
        pipelines[name] = functools.partial(our_batches, 'tfds', output, num_threads)
    return pipelines


def measure(make_batches: Callable[[], Iterator]) -> float:
    """Returns the speed of a pipeline in images a second."""
    batches = make_batches()
    for _ in itertools.islice(batches, WARM_UP_BATCHES):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(batches, TIMED_BATCHES):
        pass
    seconds = time.perf_counter() - start
    if hasattr(batches, 'close'):
        batches.close()
    return TIMED_BATCHES * BATCH_SIZE / seconds


def print_table(speeds: dict[str, list[float]], num_cores: int) -> None:
    """Prints a table in Markdown of images a second per core, and of ratios to the other pipelines.

    Args:
      speeds: images a second in each round, by the name of the pipeline.
      num_cores: number of cores of this process.
    """
    medians = {name: statistics.median(in_rounds) for name, in_rounds in speeds.items()}
    peers = [name for name in speeds if name not in OURS]
    print(f'| images/s per core, {num_cores} cores | median | min-max |', end='')
    print(''.join(f' / {name} |' for name in peers))
    print('|---|---|---|' + '---|' * len(peers))
    for name, in_rounds in speeds.items():
        low, high = min(in_rounds) / num_cores, max(in_rounds) / num_cores
        print(f'| {name} | {medians[name] / num_cores:.0f} | {low:.0f}-{high:.0f} |', end='')
        print(''.join(f' {medians[name] / medians[peer]:.2f} |' for peer in peers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--images', type=Path, help='folder of JPEGs, searched with its subfolders')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', type=Path, help='file for all measurements')
    arguments = parser.parse_args()
    num_cores = len(os.sched_getaffinity(0))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.images:
            files = (path.resolve() for path in arguments.images.rglob('*'))
            paths = sorted(path for path in files if path.suffix.lower() in ('.jpg', '.jpeg'))
        else:
            paths = make_images(folder)
        if not paths:
            parser.error(f'--images={arguments.images}: expected JPEGs in this folder, found none')
        mean_bytes = statistics.mean(path.stat().st_size for path in paths)
        print(f'{len(paths)} JPEGs of {mean_bytes / 1000:.0f} KB on average', file=sys.stderr)
        pipelines = list_pipelines(link_images(paths, folder / 'set'), folder / 'set', num_cores)
        speeds = {name: [] for name in pipelines}
        for number in range(1, arguments.rounds + 1):
            for name, make_batches in pipelines.items():
                speeds[name].append(measure(make_batches))
                print(f'round {number}: {name}: {speeds[name][-1]:.0f} images/s', file=sys.stderr)
    print_table(speeds, num_cores)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({'num_cores': num_cores, 'images_per_second': speeds}, indent=2) + '\n'
        )


if __name__ == '__main__':
    main()
