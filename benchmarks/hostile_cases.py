"""The cases of `hostile.py`, by subject."""

import dataclasses
import io
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import PIL.Image

from resnet_jax.config import schema

ROOT = Path(__file__).parents[1]

DIGITS = f'--config={ROOT}/configs/resnet18.py:digits'

TINY = ('--config.model.depth=8', '--config.model.width=4', '--config.num_epochs=1')

DONE, FAILED, BAD = 0, 1, 2
"""Exit statuses: success, a failed run, bad input."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A command on hostile input.

    Attributes:
      name: description, for the table.
      command: name of the command, such as 'predict'.
      arguments: its arguments; bytes are names that are not UTF-8.
      statuses: allowed exit statuses.
      prepare: function that damages the folder, in which the command then runs.
      writes: prefixes of the paths that the command may change.
      environment: additional environment variables.
      stdout: None to capture the output, else a file to write it to, or 'closed' for a pipe that
        nobody reads.
      signals: signal that is sent and the delay in seconds.
    """

    name: str
    command: str
    arguments: tuple[str | bytes, ...] = ()
    statuses: tuple[int, ...] = (BAD,)
    prepare: Callable[[Path], object] = lambda folder: None
    writes: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    stdout: str | None = None
    signals: tuple[signal.Signals, float] | None = None


def config_cases(rng: random.Random, number: int) -> list[Case]:
    """Returns hostile values of random config fields, for `main` and `plan`."""
    values = [
        *('', 'abc', 'nan', 'inf', '-inf', '1e400', '-1', '0x', '()', '(1,)', '((1,2),)', '[]'),
        *('None', '1e39', '1e-320', str(10**12), str(2**31), str(2**63), str(10**30), '9' * 5000),
        *('True', '{}', '(' * 500, "'", '\\', '\x00'[:0] + '\x1b[2J', 'ä', '__import__("os")'),
    ]
    fields = sorted(schema.flatten(schema.get_config()))
    cases = []
    for _ in range(number):
        field, value = rng.choice(fields), rng.choice(values)
        command = rng.choice(['main', 'plan'])
        where = ('--workdir=new',) if command == 'main' else ()
        shown = value if len(value) < 40 else f'{value[:10]}... of length {len(value)}'
        cases.append(
            Case(
                f'{command} --config.{field}={shown!r}',
                command,
                (DIGITS, *TINY, *where, f'--config.{field}={value}'),
                # Some of these values are fine, such as seed=True's refusal or data.name='abc'.
                (DONE, FAILED, BAD),
                writes=('new',),
            )
        )
    return cases


REFUSED = {
    'seed': ('-1', str(2**31)),
    'num_epochs': ('0', str(10**12)),
    'batch_size': ('0', '-4', str(10**12)),
    'model.width': ('0', str(10**9)),
    'model.num_classes': ('-1', str(10**12), '3'),
    'model.depth': ('19', '1000000007'),
    'data.image_size': ('0', str(2**32)),
    'data.resize_size': ('4', str(2**32)),
    'data.prefetch_batches': ('0', str(10**28)),
    'data.num_threads': ('-1', str(10**9)),
    'data.std': ('(0,0,0)', '(1,1)', '(nan,1,1)'),
    'optimizer.learning_rate': ('0', 'nan', '1e39'),
    'optimizer.momentum': ('1', '-0.1'),
    'schedule.warmup_epochs': ('-1', '1e300'),
    'schedule.boundaries_epochs': ('(3,2)', '(0,)', '(1e300,1e301)'),
    'label_smoothing': ('1', '-1'),
    'ema_decay': ('1', 'inf'),
    'keep_checkpoints': ('-1', str(10**20)),
    'data.max_skipped_fraction': ('1.5',),
    'data.validation_fraction': ('1', '-0.5'),
    'initial_head': ('old',),
    'best_metric': ('top2',),
}
"""Values that must be refused, by field."""


def refused_cases() -> list[Case]:
    """Returns values of config fields that every command must refuse with status 2."""
    cases = []
    for field, values in REFUSED.items():
        for number, value in enumerate(values):
            command = ('main', 'plan')[number % 2]
            where = ('--workdir=new',) if command == 'main' else ()
            arguments = (DIGITS, *where, f'--config.{field}={value}')
            cases.append(Case(f'{command} refuses {field}={value}', command, arguments))
    return cases


COMMANDS = {
    'main': (DIGITS, *TINY, '--workdir=run'),
    'evaluate': ('--workdir=run',),
    'predict': ('--workdir=run', 'photos/train/cat/0.png'),
    'report': ('--workdir=run', '--open=false'),
    'plan': (DIGITS, *TINY),
    'prepare': (DIGITS, '--output=small', '--size=8'),
    'export': ('--workdir=run', '--output=weights.bin', '--format=safetensors'),
    'import_weights': ('--format=resnet_jax', '--weights=weights.safetensors', '--workdir=new'),
}
"""Arguments with which each command succeeds in the template."""

WRITES = {
    'main': ('run',),
    'report': ('run/report',),
    'prepare': ('small',),
    'export': ('weights.bin',),
    'import_weights': ('new',),
    'evaluate': ('run/.lock',),
}


def flag_cases() -> list[Case]:
    """Returns flags that no command accepts."""
    cases = []
    for command, arguments in COMMANDS.items():
        for flag in ('--no_such_flag=1', '--workdir', '--checkpoint=', '--config=no_such_file.py'):
            statuses = (DONE, BAD) if flag in ('--workdir', '--checkpoint=') else (BAD,)
            cases.append(
                Case(f'{command} {flag}', command, (*arguments, flag), statuses, writes=('run',))
            )
        cases.append(Case(f'{command} without flags', command))
        cases.append(Case(f'{command} --help', command, ('--help',), (DONE,), stdout='/dev/null'))
    more = [
        ('evaluate', '--batch_size=-1'),
        ('evaluate', f'--batch_size={10**12}'),
        ('evaluate', '--split=test'),
        ('evaluate', f'--audit_mxnet_r={10**23}'),
        ('evaluate', '--audit_mxnet_r=0'),
        ('evaluate', '--checkpoint=-1'),
        ('evaluate', f'--checkpoint={"9" * 5000}'),
        ('evaluate', '--checkpoint=epoch:nan'),
        ('evaluate', '--checkpoint=../run'),
        ('evaluate', '--data_dir=/no/such/folder'),
        ('predict', '--top_k=0'),
        ('predict', '--top_k=many'),
        ('predict', '--checkpoint=epoch:'),
        ('predict', '--figure=figure.jpg'),
        ('predict', '--figure=no/such/folder/figure.png'),
        ('plan', '--images_per_second=0'),
        ('plan', '--images_per_second=-1'),
        ('plan', '--images_per_second=nan'),
        ('plan', '--images_per_second=1e-320'),
        ('plan', '--num_devices=-1'),
        ('plan', f'--num_devices={10**20}'),
        ('plan', '--num_devices=7'),
        ('prepare', '--quality=0'),
        ('prepare', f'--size={10**20}'),
        ('prepare', '--encoding=gif'),
        ('export', '--format=onnyx'),
        ('export', '--platforms=toaster'),
        ('export', '--output=no/such/folder/weights'),
        ('import_weights', '--format=tar'),
        ('import_weights', '--weights=text.txt'),
        ('import_weights', '--weights=no_such_file'),
        ('import_weights', '--workdir=run'),
        ('report', '--order=random'),
        ('main', '--coordinator_address=nowhere'),
        ('main', '--num_processes=2'),
        ('main', '--process_id=5'),
    ]
    for command, flag in more:
        allowed = (DONE, BAD) if '--platforms' in flag or '--data_dir' in flag else (BAD,)
        cases.append(
            Case(
                f'{command} {flag[:50]}',
                command,
                (*COMMANDS[command], flag),
                allowed,
                writes=WRITES.get(command, ()),
            )
        )
    for address in ('host', 'host:99999999', ':9876', 'host:port', '[::1'):
        flags = (f'--coordinator_address={address}', '--num_processes=2', '--process_id=0')
        cases.append(Case(f'main at {address}', 'main', (*COMMANDS['main'], *flags)))
    return cases


def make_fifo(path: Path) -> None:
    """Puts a named pipe in the place of a path."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def path_cases() -> list[Case]:
    """Returns files and folders of the wrong kind, and names that are not UTF-8."""
    cases = []
    for command in ('evaluate', 'predict', 'report', 'export'):
        for name, workdir in {
            'missing': 'no_such_run',
            'a file': 'text.txt',
            'empty': 'empty',
            'a device': '/dev/null',
            'not UTF-8': b'\xff\xfe',
            'very long': 'x' * 5000,
            'a home that is unknown': '~nobody_at_all/run',
        }.items():
            flag = os.fsencode('--workdir=') + os.fsencode(workdir)
            arguments = (*COMMANDS[command][1:], flag)
            cases.append(Case(f'{command}: workdir is {name}', command, arguments))
    for command, flag in {
        'main': 'workdir',
        'prepare': 'output',
        'import_weights': 'workdir',
    }.items():
        for name, path in {
            'a file': 'text.txt',
            'below a file': 'text.txt/new',
            'a device': '/dev/null',
            'in /proc': '/proc/new',
            'very long': 'x' * 5000,
        }.items():
            arguments = (*COMMANDS[command], f'--{flag}={path}')
            cases.append(Case(f'{command}: {flag} is {name}', command, arguments, (FAILED, BAD)))
    for target in ('/dev/full', 'fifo', 'empty', 'text.txt/x'):
        prepare = (lambda folder: os.mkfifo(folder / 'fifo')) if target == 'fifo' else None
        extra = {'prepare': prepare} if prepare else {}
        for name in ('export', 'predict', 'plan'):
            flag = 'output' if name == 'export' else 'figure'
            target_name = target if name == 'export' else f'{target}.png'
            arguments = (*COMMANDS[name], f'--{flag}={target_name}')
            statuses = (FAILED, BAD) if name == 'export' else (DONE, FAILED, BAD)
            cases.append(
                Case(
                    f'{name} into {target}',
                    name,
                    arguments,
                    statuses,
                    writes=(f'{target}.png',),
                    **extra,
                )
            )
    image = b'caf\xe9 \xff.png'

    def copy(folder: Path) -> None:
        shutil.copy(folder / 'photos/train/cat/0.png', os.fsencode(folder) + b'/' + image)

    cases.append(
        Case(
            'predict an image whose name is not UTF-8',
            'predict',
            ('--workdir=run', image),
            (DONE,),
            copy,
        )
    )
    cases.append(
        Case(
            'predict it on an ASCII terminal',
            'predict',
            ('--workdir=run', image),
            (DONE,),
            copy,
            environment={'PYTHONIOENCODING': 'ascii', 'LC_ALL': 'C', 'PYTHONUTF8': '0'},
        )
    )
    return cases


def rubbish(rng: random.Random, kind: str) -> bytes:
    """Returns hostile content of a file."""
    return {
        'empty': b'',
        'random': rng.randbytes(1000),
        'zeros': bytes(4096),
        'a list': b'[1, 2, 3]',
        'deeply nested': b'[' * 100_000,
        'an object of objects': b'{"model": {"depth": {"x": 1}}, "seed": "a"}',
        'not UTF-8': b'step,epoch\n\xff\xfe\n',
        'huge numbers': b'step,time_s\n' + b'9' * 5000 + b',1\n',
        'null': b'null',
    }[kind]


KINDS = (
    *('empty', 'random', 'zeros', 'a list', 'deeply nested', 'an object of objects', 'not UTF-8'),
    *('huge numbers', 'null'),
)


def damaged_run(command: str, name: str, damage: Callable[[Path], object]) -> Case:
    """Returns the case of a command on a run that `damage` has damaged: any outcome is fine."""
    statuses, writes = (DONE, FAILED, BAD), WRITES.get(command, ())
    return Case(f'{command}: {name}', command, COMMANDS[command], statuses, damage, writes)


def damaged_run_cases(rng: random.Random) -> list[Case]:
    """Returns runs with damaged files, for every command that reads a run."""
    files = (
        *('config.json', 'class_names.txt', 'environment.json', 'metrics.csv', 'machine.csv'),
        *('confusion/11.npz', 'checkpoints/11/metadata/metadata', 'checkpoints/11/metrics/metrics'),
    )
    cases = []
    for file in files:
        for kind in rng.sample(KINDS, 3):
            command = rng.choice(['main', 'evaluate', 'predict', 'report', 'export'])
            content = rubbish(rng, kind)

            def damage(folder: Path, file: str = file, content: bytes = content) -> None:
                for path in (folder / 'run').glob(file.replace('11', '*')):
                    path.write_bytes(content)

            cases.append(damaged_run(command, f'{file} is {kind}', damage))

    def flip(folder: Path, seed: int) -> None:
        own = random.Random(seed)
        files = sorted(path for path in (folder / 'run/checkpoints').rglob('*') if path.is_file())
        path = own.choice([path for path in files if path.stat().st_size])
        content = bytearray(path.read_bytes())
        content[own.randrange(len(content))] ^= 1 << own.randrange(8)
        path.write_bytes(content)

    for _ in range(8):
        seed, command = rng.randrange(10**6), rng.choice(['main', 'evaluate', 'predict', 'export'])
        name = f'bit flipped in the checkpoint (seed {seed})'
        cases.append(damaged_run(command, name, lambda folder, seed=seed: flip(folder, seed)))
    for name in ('0022', '+7', '²', '-1', '9' * 200, 'damaged-3', '1e3', '.tmp'):
        cases.append(
            Case(
                f'evaluate: a checkpoint folder {name[:9]!r}',
                'evaluate',
                COMMANDS['evaluate'],
                (DONE,),
                lambda folder, name=name: (folder / 'run/checkpoints' / name).mkdir(),
            )
        )
    for file in ('config.json', 'metrics.csv', 'class_names.txt', 'checkpoints', '.lock'):
        for kind, change in (
            ('a folder', lambda path: (path.unlink(), path.mkdir())),
            ('a named pipe', make_fifo),
        ):
            command = rng.choice(['evaluate', 'report', 'main'])

            def replace(folder: Path, file: str = file, change: Callable = change) -> None:
                path = folder / 'run' / file
                if path.is_dir():
                    shutil.rmtree(path)
                path.touch()
                change(path)

            cases.append(damaged_run(command, f'{file} is {kind}', replace))
    return cases


def encode(kind: str, **options: object) -> bytes:
    """Returns a small image in a file format."""
    file = io.BytesIO()
    PIL.Image.new('RGB', (20, 30), (200, 10, 10)).save(file, kind, **options)
    return file.getvalue()


def images(rng: random.Random) -> dict[str, tuple[bytes, bool]]:
    """Returns hostile and unusual images, and whether they can be predicted."""
    png, jpeg = encode('PNG'), encode('JPEG')
    exif = PIL.Image.Exif()
    exif[0x0112] = 99
    huge = png[:16] + (2**31 - 1).to_bytes(4, 'big') * 2 + png[24:]
    files = {
        'empty': (b'', False),
        'text': (b'hello', False),
        'zeros': (bytes(10_000), False),
        'PNG signature': (png[:8], False),
        'truncated PNG': (png[:-20], False),
        'huge PNG header': (huge, False),
        'JPEG signature': (b'\xff\xd8\xff', False),
        'truncated JPEG': (jpeg[: len(jpeg) // 3], False),
        'JPEG of random bytes': (b'\xff\xd8\xff\xe0' + rng.randbytes(2000), False),
        'truncated WebP': (encode('WEBP')[:20], False),
        'truncated BMP': (encode('BMP')[:40], False),
        'truncated GIF': (encode('GIF')[:12], False),
        'TIFF': (encode('TIFF'), False),
        'WebP': (encode('WEBP'), True),
        'BMP': (encode('BMP'), True),
        'GIF': (encode('GIF'), True),
        'orientation 99': (encode('JPEG', exif=exif), True),
    }
    for _ in range(8):
        content = bytearray(rng.choice([png, jpeg, encode('WEBP'), encode('BMP')]))
        for _ in range(rng.randrange(1, 30)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        files[f'random bytes changed ({rng.randrange(1000)})'] = bytes(content), None
    return files


def image_cases(rng: random.Random) -> list[Case]:
    """Returns hostile images for prediction, and folders of them for training."""
    cases = []
    for name, (content, is_fine) in images(rng).items():
        statuses = {True: (DONE,), False: (FAILED,), None: (DONE, FAILED)}[is_fine]
        flag = rng.choice(['--exif_orientation', '--json', '--top_k=3'])
        cases.append(
            Case(
                f'predict: {name}',
                'predict',
                ('--workdir=run', flag, 'image'),
                statuses,
                lambda folder, content=content: (folder / 'image').write_bytes(content),
            )
        )
    for name, path in {
        'missing': 'nothing.jpg',
        'a folder without images': 'empty',
        'a device': '/dev/zero',
        'a glob of nothing': 'no*.jpg',
        'a named pipe': 'fifo',
        'an empty name': '',
    }.items():
        cases.append(
            Case(
                f'predict: image is {name}',
                'predict',
                ('--workdir=run', path),
                (FAILED, BAD),
                lambda folder: os.mkfifo(folder / 'fifo'),
            )
        )
    train = (
        *(f'--config={ROOT}/configs/resnet18.py', *TINY, '--config.data.source=folder'),
        *('--config.data.dir=photos', '--config.data.image_size=8', '--config.data.resize_size=8'),
        *('--config.batch_size=4', '--workdir=new', '--config.num_devices=1'),
        *('--config.model.dtype=float32', '--config.model.stem=cifar'),
    )
    changes = {
        'as it is': (lambda photos: None, (DONE,)),
        'a bad image': (lambda photos: (photos / 'train/cat/0.png').write_bytes(b'x'), (BAD,)),
        'an empty class': (lambda photos: (photos / 'train/fox').mkdir(), (BAD,)),
        'no validation split': (lambda photos: shutil.rmtree(photos / 'validation'), (BAD,)),
        'a class that only one split has': (
            lambda photos: shutil.copytree(photos / 'train/cat', photos / 'train/fox'),
            (BAD,),
        ),
        'a class name with a line break': (
            lambda photos: [
                (photos / split / 'cat').rename(photos / split / 'ca\nt')
                for split in ('train', 'validation')
            ],
            (BAD,),
        ),
        'a class name with U+2028': (
            lambda photos: [
                (photos / split / 'cat').rename(photos / split / 'ca\u2028t')
                for split in ('train', 'validation')
            ],
            (BAD,),
        ),
        'a class name that is not UTF-8': (
            lambda photos: [
                (photos / split / 'cat').rename(photos / split / os.fsdecode(b'\xff'))
                for split in ('train', 'validation')
            ],
            (DONE, BAD),
        ),
        'a loop of links': (
            lambda photos: (photos / 'train/cat/loop').symlink_to(photos / 'train'),
            (DONE,),
        ),
        'a named pipe as image': (
            lambda photos: make_fifo(photos / 'train/cat/0.png'),
            (DONE, BAD),
        ),
    }
    for name, (change, statuses) in changes.items():
        cases.append(
            Case(
                f'main: folder with {name}',
                'main',
                train,
                statuses,
                lambda folder, change=change: change(folder / 'photos'),
                ('new',),
            )
        )

    def spoil(folder: Path, split: str) -> None:
        for path in (folder / 'photos' / split).rglob('*.png'):
            path.write_bytes(b'x')

    for split in ('train', 'validation'):
        cases.append(
            Case(
                f'main: every image of {split} is bad, and skipped',
                'main',
                (*train, '--config.data.on_error=skip'),
                (FAILED, BAD),
                lambda folder, split=split: spoil(folder, split),
                ('new',),
            )
        )
    return cases


def weights_cases(rng: random.Random) -> list[Case]:
    """Returns hostile files of weights for every format."""
    cases = []
    headers = {
        'mxnet': (0x112).to_bytes(8, 'little') + bytes(8) + (2**60).to_bytes(8, 'little'),
        'timm': (2**60).to_bytes(8, 'little') + b'{}',
        'keras': b'PK\x03\x04' + bytes(30),
        'resnet_jax': (2).to_bytes(8, 'little') + b'{}',
    }
    for file_format, header in headers.items():
        contents = {
            'empty': b'',
            'random': rng.randbytes(3000),
            'a huge header': header,
            'a pickle': b'\x80\x04cposix\nsystem\n(S"touch pwned"\ntR.',
        }
        for name, content in contents.items():
            cases.append(
                Case(
                    f'import_weights {file_format}: {name}',
                    'import_weights',
                    (f'--format={file_format}', '--weights=file', '--workdir=new'),
                    (BAD,),
                    lambda folder, content=content: (folder / 'file').write_bytes(content),
                )
            )
    return cases


def stream_and_signal_cases(rng: random.Random) -> list[Case]:
    """Returns closed and full outputs, odd environments, and signals at random times."""
    cases = []
    for command, arguments in COMMANDS.items():
        writes = WRITES.get(command, ())
        if command not in ('main', 'prepare'):
            cases.append(
                Case(
                    f'{command} into a closed pipe',
                    command,
                    arguments,
                    (DONE, FAILED, 141),
                    writes=writes,
                    stdout='closed',
                )
            )
            cases.append(
                Case(
                    f'{command} into a full device',
                    command,
                    arguments,
                    (FAILED,),
                    writes=writes,
                    stdout='/dev/full',
                )
            )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            delay = rng.uniform(0.5, 12)
            cases.append(
                Case(
                    f'{command}: {number.name} after {delay:.1f} s',
                    command,
                    arguments,
                    (DONE, 128 + number, -number),
                    writes=writes,
                    signals=(number, delay),
                )
            )
    environments = {
        'SLURM_NTASKS=abc': {'SLURM_NTASKS': 'abc', 'SLURM_STEP_ID': '0'},
        'OMPI_COMM_WORLD_SIZE=x': {'OMPI_COMM_WORLD_SIZE': 'x'},
    }
    for name, environment in environments.items():
        cases.append(
            Case(
                f'main: {name}',
                'main',
                COMMANDS['main'],
                (BAD,),
                environment=environment,
                writes=('run',),
            )
        )
    for name, environment in {
        'HOME is missing': {'HOME': '/no/such/home'},
        'an unknown locale': {'LC_ALL': 'xx_YY.UTF-9'},
        'a read-only cache': {'JAX_COMPILATION_CACHE_DIR': '/proc/cache'},
    }.items():
        command = rng.choice(['evaluate', 'predict', 'report'])
        cases.append(
            Case(
                f'{command}: {name}',
                command,
                COMMANDS[command],
                (DONE,),
                environment=environment,
                writes=WRITES.get(command, ()),
            )
        )
    return cases


def make_cases(seed: int, number: int) -> list[Case]:
    """Returns at least `number` cases; random values of config fields fill up the fixed ones."""
    rng = random.Random(seed)
    cases = [
        *refused_cases(), *flag_cases(), *path_cases(), *damaged_run_cases(rng),
        *image_cases(rng), *weights_cases(rng), *stream_and_signal_cases(rng),
    ]  # fmt: skip
    return cases + config_cases(rng, max(number - len(cases), 30))
