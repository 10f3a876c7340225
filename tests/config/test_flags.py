"""The flags of the commands: exit statuses, messages, overrides."""

import subprocess
import sys

import pytest
from absl import flags as absl_flags
from support.paths import ROOT

from resnet_jax.config import flags
from resnet_jax.errors import InputError
from resnet_jax.storage.workdir import Workdir


def run(command, *arguments):
    return subprocess.run(
        [sys.executable, '-m', f'resnet_jax.{command}', *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_refused(result, *expected):
    assert result.returncode == 2, result.stderr
    assert 'Traceback' not in result.stderr
    for text in expected:
        assert text in result.stderr


CONFIG = '--config=configs/resnet18.py'


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ([], ['--config']),
        (['--config'], ['--config', 'configs/resnet18.py']),
        (['--config=configs/missing.py'], ["'configs/missing.py'", 'configs/resnet18.py']),
        (['--config', 'configs/missing.py:digits'], ["'configs/missing.py'"]),
        (['--config=configs'], ["'configs'"]),
        (
            ['--config=configs/resnet18.py:mnist'],
            ["'mnist'", 'imagenet2012, cifar10, cifar100, digits'],
        ),
        ([CONFIG, '--config.model.dept=34'], ['config.model.dept', 'did you mean model.depth']),
        ([CONFIG, '--config.batchsize=64'], ['config.batchsize', 'did you mean batch_size']),
        ([CONFIG, '--config.momentum=0.5'], ['config.momentum', 'optimizer.momentum']),
        ([CONFIG, '--config.zzz=1'], ['config.zzz', 'the fields are', 'num_epochs', 'model.depth']),
        ([CONFIG, '--noconfig.nesterof'], ['config.nesterof', 'optimizer.nesterov']),
        ([CONFIG, '--config.model=34'], ['config.model']),
        ([CONFIG, '--config.batch_size=many'], ["config.batch_size = 'many'", 'int', '256']),
        ([CONFIG, '--config.batch_size=1.5'], ['config.batch_size = 1.5', 'int', '256']),
        ([CONFIG, '--config.batch_size='], ['config.batch_size', 'int', '256']),
        ([CONFIG, '--config.batch_size'], ['config.batch_size']),
        ([CONFIG, '--config.optimizer.nesterov=maybe'], ['config.optimizer.nesterov', 'bool']),
        ([CONFIG, '--config.optimizer.learning_rate=x'], ['learning_rate', "'x'", 'float', '0.1']),
        ([CONFIG, '--config.data.mean=(1,'], ['config.data.mean', 'tuple']),
        ([CONFIG, '--config.data.mean=(1,2)'], ['config.data.mean = (1, 2)', '3 numbers']),
        ([CONFIG, '--config.model.depth=19'], ['config.model.depth = 19', '18, 34, 50', '6n+2']),
        ([CONFIG, '--config.num_devices=3'], ['config.batch_size = 256', '255 or 258']),
        (
            [CONFIG, '--config.num_devices=2', '--config.optimizer.accumulate_steps=3'],
            ['config.batch_size = 256', '2 devices times 3 accumulate_steps', '252 or 258'],
        ),
        ([CONFIG, '--config.label_smoothing=nan'], ['config.label_smoothing = nan']),
        ([CONFIG, '--learning_rate=1'], ['learning_rate']),
        ([CONFIG, '--workdir'], ['workdir']),
        ([CONFIG, f'--workdir={"x" * 5000}'], ['workdir', 'at most 4,095 bytes']),
        ([CONFIG, 'runs/here'], ["'runs/here'", '--name=value']),
        ([f'{CONFIG}:digits', '--config.num_devices=64', 'x'], ["'x'"]),
    ],
    ids=lambda value: ' '.join(value)[:60],
)
def test_main_refuses_with_status_2(arguments, expected):
    assert_refused(run('main', *arguments), *expected)


def test_a_config_file_without_get_config_is_refused(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text('depth = 18\n')
    assert_refused(run('main', f'--config={file}'), str(file), 'get_config')


def test_a_config_file_with_an_unknown_field_is_refused(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(
        'from resnet_jax.config import data_sets, schema\n\n\n'
        'def get_config():\n'
        '    config = data_sets.use_data(schema.get_config(), "digits")\n'
        '    config.batchsize = 64\n'
        '    config.model.depth = 19\n'
        '    return config\n'
    )
    assert_refused(run('main', f'--config={file}'), 'config.batchsize', 'batch_size')


@pytest.mark.parametrize(
    ('value', 'name'), [('resnet18', 'resnet18'), ('resnet18:digits', 'resnet18-digits')]
)
@pytest.mark.parametrize('separate', [False, True])
def test_a_config_is_found_by_its_name_from_any_folder(
    parse, value, name, separate, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert parse(*(['--config', value] if separate else [f'--config={value}'])).model.depth == 18
    assert flags.config_name() == name


def test_a_path_flag_expands_the_home_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    try:
        holder = flags.define_path('some_folder', '', 'A folder.')
        flag = flags.FLAGS['some_folder']
        for value in ('~/x', '~', '', 'a/~', '~nobody-has-this-name/x'):
            flag.parse(value)
            expected = {'~/x': '/home/me/x', '~': '/home/me'}.get(value, value)
            assert flag.value == expected
        assert holder.name == 'some_folder'
        with pytest.raises(absl_flags.Error, match='expected a path in UTF-8'):
            flags.FLAGS.some_folder = 'caf\udce9'
    finally:
        del flags.FLAGS.some_folder


def test_a_working_folder_that_no_library_can_use_is_refused(parse, tmp_path, monkeypatch):
    folder = tmp_path / 'caf\udce9'
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r'working folder .*caf\udce9: expected a path in UTF-8'):
        parse('--config=resnet18')
    folder.rmdir()
    with pytest.raises(InputError, match='expected a working folder that exists'):
        parse('--config=resnet18')


@pytest.mark.parametrize('folder', ['file', 'file/below'])
def test_a_workdir_that_cannot_be_a_folder_is_refused(folder, tmp_path):
    (tmp_path / 'file').touch()
    assert not Workdir(tmp_path / folder).has_run()
    with pytest.raises(InputError, match=f'--workdir={tmp_path}/{folder}: .*folder'):
        Workdir(tmp_path / folder).create()


@pytest.mark.parametrize('command', ['evaluate', 'predict', 'report'])
def test_the_commands_for_a_run_need_a_workdir(command):
    assert_refused(run(command), 'workdir')


@pytest.fixture
def two_runs(tmp_path):
    for name in ('first', 'second'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'config.json').write_text('{}')
    (tmp_path / 'other').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ('command', 'images'), [('evaluate', []), ('report', []), ('predict', ['x.jpg'])]
)
def test_a_folder_without_a_run_is_refused_with_the_runs_nearby(command, images, two_runs):
    result = run(command, f'--workdir={two_runs}/other', *images)
    assert_refused(result, f'{two_runs}/other', f'{two_runs}/first', f'{two_runs}/second')


@pytest.mark.parametrize('folder', ['other', 'missing', '.', 'first/checkpoints'])
def test_the_runs_next_to_in_and_above_a_folder_are_listed(folder, two_runs):
    with pytest.raises(InputError) as refusal:
        Workdir(two_runs / folder).read_config()
    assert f'{two_runs}/first' in str(refusal.value)
    assert folder == 'first/checkpoints' or f'{two_runs}/second' in str(refusal.value)


def test_predict_needs_an_image(tmp_path):
    assert_refused(run('predict', f'--workdir={tmp_path}'), 'image')


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--batch_size=many'], ['batch_size', 'many']),
        (['--epoch=3'], ['epoch']),
        (['stray'], ["'stray'"]),
    ],
)
def test_evaluate_refuses_with_status_2(arguments, expected, tmp_path):
    assert_refused(run('evaluate', f'--workdir={tmp_path}', *arguments), *expected)


@pytest.fixture
def parse(monkeypatch):
    """Parses arguments of `main` in this process and returns the config."""
    values = absl_flags.FlagValues()
    monkeypatch.setattr(flags, 'FLAGS', values)
    flags.config_flags.DEFINE_config_file('config', None, 'Config file.', flag_values=values)
    monkeypatch.chdir(ROOT)

    def parse_arguments(*arguments):
        monkeypatch.setattr(sys, 'argv', ['main', *arguments])  # ml_collections reads it too
        assert flags.flags_parser(sys.argv) == ['main']
        return values['config'].value

    return parse_arguments


def test_fields_at_every_level_can_be_overridden(parse):
    config = parse(
        f'{CONFIG}:digits',
        '--config.seed=7',
        '--config.model.depth=34',
        '--config.model.variant=timm',
        '--noconfig.optimizer.nesterov',
        '--config.model.sync_batch_norm',
        '--config.optimizer.learning_rate=1',
        '--config.data.dir=/some/folder:with=signs',
    )
    assert (config.seed, config.model.depth, config.model.variant) == (7, 34, 'timm')
    assert (config.optimizer.nesterov, config.model.sync_batch_norm) == (False, True)
    assert config.optimizer.learning_rate == 1.0
    assert isinstance(config.optimizer.learning_rate, float)
    assert config.data.dir == '/some/folder:with=signs'
    assert config.data.name == 'digits'


@pytest.mark.parametrize(
    ('text', 'value'), [('(3,)', (3,)), ('(2,4,9)', (2, 4, 9)), ('(0.5,7)', (0.5, 7)), ('()', ())]
)
def test_tuples_can_be_overridden(parse, text, value):
    config = parse(f'{CONFIG}:digits', f'--config.schedule.boundaries_epochs={text}')
    assert config.schedule.boundaries_epochs == value
    assert parse(CONFIG, '--config.data.std=(1,1,1)').data.std == (1, 1, 1)


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['--config=configs/resnet18.py'], 'resnet18'),
        (['--config=configs/resnet18.py:digits'], 'resnet18-digits'),
        (['--config', 'configs/cifar10_resnet20.py:cifar100'], 'cifar10_resnet20-cifar100'),
    ],
)
def test_a_run_is_named_after_its_config_and_data(parse, arguments, name):
    parse(*arguments)
    assert flags.config_name() == name


def test_a_log_line_is_printed_once_whatever_a_library_has_set_up():
    program = (
        'import logging; logging.basicConfig(level=logging.INFO)\n'
        'from absl import logging as absl_logging\n'
        'from resnet_jax.config import flags\n'
        'flags.run(lambda _: absl_logging.warning("slow disk"))'
    )
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stderr.count('slow disk') == 1, result.stderr


def test_a_config_file_that_is_not_python_is_refused_with_its_line(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('def get_config():\n    return (\n')
    assert_refused(run('main', f'--config={path}'), str(path), 'line 2')


@pytest.mark.parametrize(
    ('command', 'arguments', 'expected'),
    [
        ('import_weights', [], ['--format', '--weights', '--workdir']),
        ('import_weights', ['--format=timm', '--weights=x', '--workdir=y', 'z'], ["'z'"]),
        (
            'import_weights',
            ['--format=timm', '--weights=x', '--workdir=y', f'{CONFIG}', '--config.dept=1'],
            ['config.dept', 'model.depth'],
        ),
        ('export', ['--workdir=runs'], ['--output']),
    ],
)
def test_wrong_flags_of_import_and_export_are_refused(command, arguments, expected):
    assert_refused(run(command, *arguments), *expected)
