"""Folder of a simulated ImageNet run, with confusion counts that contain two clusters.

    python tests/support/simulated_imagenet.py FOLDER [EVALUATIONS]

The network gets better from epoch to epoch. It confuses classes mostly with neighbours in the same
cluster (animals 0-397, everything else 398-999).
"""

import csv
import sys
from pathlib import Path

import numpy as np

from resnet_jax.config import data_sets, schema
from resnet_jax.data.class_names import imagenet_names
from resnet_jax.evaluation.confusion import count_confusion
from resnet_jax.evaluation.confusion_files import SavedConfusion, save_confusion
from resnet_jax.storage.metrics_csv import METRICS_COLUMNS
from resnet_jax.storage.workdir import Workdir

NUM_CLASSES = 1000
FIRST_OBJECT = 398
STEPS_PER_EPOCH = 5004


def draw_top_classes(labels, skill, rng):
    """Returns five different predicted classes for each label, int `[N, 5]`.

    Args:
      labels: int `[N]`.
      skill: 0-1; with more skill, more predictions are right.
      rng: NumPy's random generator.
    """
    number = len(labels)
    low = np.where(labels < FIRST_OBJECT, 0, FIRST_OBJECT)[:, None]
    high = np.where(labels < FIRST_OBJECT, FIRST_OBJECT, NUM_CLASSES)[:, None]
    shape = (number, 24)
    near = labels[:, None] + np.rint(rng.laplace(scale=12, size=shape)).astype(np.int64)
    near = low + (near - low) % (high - low)
    inside = low + (rng.random(shape) * (high - low)).astype(np.int64)
    anywhere = rng.integers(NUM_CLASSES, size=shape)
    kind = rng.random(shape)
    drawn = np.where(
        kind < 0.5 * skill, near, np.where(kind < 0.2 + 0.75 * skill, inside, anywhere)
    )
    place = rng.geometric(0.1 + 0.6 * skill, size=number) - 1
    seen = (place < 5) & (rng.random(number) < skill)
    drawn[np.flatnonzero(seen), place[seen]] = labels[seen]
    order = np.argsort(drawn, axis=1, kind='stable')
    in_order = np.take_along_axis(drawn, order, axis=1)
    again = np.zeros(shape, bool)
    np.put_along_axis(again, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
    firsts = np.argsort(again, axis=1, kind='stable')[:, :5]
    assert not np.take_along_axis(again, firsts, axis=1).any()
    return np.take_along_axis(drawn, firsts, axis=1)


def write_run(folder, num_evaluations=30, examples_per_class=50, seed=0):
    """Writes all files of a run that the report reads, and returns its `Workdir`."""
    rng = np.random.default_rng(seed)
    config = data_sets.use_data(schema.get_config(), 'imagenet2012')
    config.num_epochs = num_evaluations
    run = Workdir(Path(folder))
    run.create()
    run.write_config(config)
    run.write_class_names(imagenet_names().values())
    run.write_environment(
        {'command': ['main.py', '--config=configs/resnet18.py'], 'devices': ['simulated']}
    )
    labels = np.repeat(np.arange(NUM_CLASSES), examples_per_class)
    rows = []
    for epoch in range(1, num_evaluations + 1):
        skill = 0.97 - 0.9 * np.exp(-epoch / num_evaluations * 5)
        top_classes = draw_top_classes(labels, skill, rng)
        counts = count_confusion(
            labels, top_classes, num_examples=len(labels), num_classes=NUM_CLASSES
        )
        step = epoch * STEPS_PER_EPOCH
        save_confusion(run.confusion_file(step), SavedConfusion(step, epoch, counts))
        top1, top5 = counts.accuracy(1), counts.accuracy(5)
        values = (step, epoch, 0.1 * 0.94 ** (epoch - 1), 7.5 - 6 * top5, top1 * 0.95, top5 * 0.96)
        values += (7.2 - 6 * top5, top1, top5, 1480 + rng.normal(scale=9))
        rows.append(dict(zip(METRICS_COLUMNS, values, strict=False)))
    run.write_metrics(rows)
    write_machine(run.path / 'machine.csv', rng, num_evaluations)
    return run


def write_machine(path, rng, num_epochs, num_gpus=4):
    """Writes a table of four busy GPUs, with a dip at the end of each epoch."""
    columns = ['step', 'time_s']
    for i in range(num_gpus):
        columns += [f'gpu{i}_{name}' for name in ('utilisation_percent', 'memory_used_bytes')]
        columns += [f'gpu{i}_{name}' for name in ('memory_total_bytes', 'power_w')]
        columns += [f'gpu{i}_temperature_c', f'device{i}_memory_in_use_bytes']
    columns += ['host_cpu_percent', 'host_memory_used_bytes', 'process_memory_bytes']
    columns += ['images_per_second', 'input_wait_fraction']
    with path.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        for i in range(20 * num_epochs):
            busy = 0.3 if i % 20 == 19 else 1
            row = [(i + 1) * STEPS_PER_EPOCH // 20, round(43.3 * (i + 1), 1)]
            for gpu in range(num_gpus):
                use = busy * min(rng.normal(94 - gpu, 2.5), 100)
                memory = (9.1 + 0.15 * gpu) * 2**30
                row += [round(use), round(memory), 16 * 2**30, round(60 + 1.9 * use, 1)]
                row += [round(45 + use / 4), round(memory * 0.8)]
            row += [round(rng.normal(61, 4), 1), 23 * 2**30 + 10**7 * i, 9 * 2**30]
            row += [round(busy * rng.normal(1480, 25), 1), round(abs(rng.normal(0.03, 0.01)), 4)]
            writer.writerow(row)


if __name__ == '__main__':
    write_run(sys.argv[1], *map(int, sys.argv[2:]))
