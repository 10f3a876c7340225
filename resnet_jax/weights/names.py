"""Names of the arrays in the files of other frameworks: one layout for each kind of file."""

from resnet_jax.weights.layouts import Leaves, Named, Numbered

# MXNet's symbols/resnet.py. It fixes the scale of bn_data at 1 and ignores the one in the file.
MXNET_SYMBOL = Named(
    leaves=Leaves(
        norm={'scale': '_gamma', 'bias': '_beta', 'mean': '_moving_mean', 'var': '_moving_var'},
        linear={'kernel': '_weight', 'bias': '_bias'},
    ),
    modules={
        'input_norm': 'bn_data',
        'stem/conv': 'conv0',
        'stem/norm': 'bn0',
        'final_norm': 'bn1',
        'head': 'fc1',
    },
    block_prefix='stage{stage}_unit{block}_',
    first_block=(1, 1),
    parts={
        'norm1': 'bn1',
        'norm2': 'bn2',
        'norm3': 'bn3',
        'conv1': 'conv1',
        'conv2': 'conv2',
        'conv3': 'conv3',
        'projection': 'sc',
    },
    ignored='bn_data_gamma',
)

# Gluon's HybridBlock.export, without the name of the network at the start.
GLUON_EXPORT = Numbered(
    leaves=Leaves(
        norm={'scale': '_gamma', 'bias': '_beta', 'mean': '_running_mean', 'var': '_running_var'},
        linear={'kernel': '_weight', 'bias': '_bias'},
    ),
    kinds={'norm': 'batchnorm', 'conv': 'conv', 'head': 'dense'},
    stage_prefix='stage{stage}_',
    order=('norm1', 'conv1', 'norm2', 'conv2', 'norm3', 'conv3', 'projection'),
    suffix='{n}',
    first_suffix='0',
)

# Gluon's Block.save_parameters: the numbers are positions in GluonCV's `features`.
_GLUON_LEAVES = Leaves(
    norm={'scale': '.gamma', 'bias': '.beta', 'mean': '.running_mean', 'var': '.running_var'},
    linear={'kernel': '.weight', 'bias': '.bias'},
)
_GLUON_PARTS = {
    'norm1': 'bn1',
    'norm2': 'bn2',
    'norm3': 'bn3',
    'conv1': 'conv1',
    'conv2': 'conv2',
    'conv3': 'conv3',
    'projection': 'downsample',
}
GLUON_IMAGENET = Named(
    leaves=_GLUON_LEAVES,
    modules={
        'input_norm': 'features.0',
        'stem/conv': 'features.1',
        'stem/norm': 'features.2',
        'final_norm': 'features.9',
        'head': 'output',
    },
    block_prefix='features.{stage}.{block}.',
    first_block=(5, 0),
    parts=_GLUON_PARTS,
)
GLUON_CIFAR = Named(
    leaves=_GLUON_LEAVES,
    modules={
        'input_norm': 'features.0',
        'stem/conv': 'features.1',
        'final_norm': 'features.5',
        'head': 'output',
    },
    block_prefix='features.{stage}.{block}.',
    first_block=(2, 0),
    parts=_GLUON_PARTS,
)

# timm's models/resnetv2.py; the head is a 1x1 convolution.
TIMM = Named(
    leaves=Leaves(
        norm={'scale': '.weight', 'bias': '.bias', 'mean': '.running_mean', 'var': '.running_var'},
        linear={'kernel': '.weight', 'bias': '.bias'},
        head='OI11',
    ),
    modules={
        'stem/conv': 'stem.conv',
        'stem/conv1': 'stem.conv1',
        'stem/norm1': 'stem.norm1',
        'stem/conv2': 'stem.conv2',
        'stem/norm2': 'stem.norm2',
        'stem/conv3': 'stem.conv3',
        'final_norm': 'norm',
        'head': 'head.fc',
    },
    block_prefix='stages.{stage}.blocks.{block}.',
    first_block=(0, 0),
    parts={
        'norm1': 'norm1',
        'norm2': 'norm2',
        'norm3': 'norm3',
        'conv1': 'conv1',
        'conv2': 'conv2',
        'conv3': 'conv3',
        'projection': 'downsample.conv',
    },
)

# keras.applications.resnet_v2: the names of its layers, in .h5 files of Keras 2 and 3.
KERAS_NAMED = Named(
    leaves=Leaves(
        norm={
            'scale': '/gamma',
            'bias': '/beta',
            'mean': '/moving_mean',
            'var': '/moving_variance',
        },
        linear={'kernel': '/kernel', 'bias': '/bias'},
        kernel='HWIO',
        head='IO',
    ),
    modules={'stem/conv': 'conv1_conv', 'final_norm': 'post_bn', 'head': 'predictions'},
    block_prefix='conv{stage}_block{block}_',
    first_block=(2, 1),
    parts={
        'norm1': 'preact_bn',
        'norm2': '1_bn',
        'norm3': '2_bn',
        'conv1': '1_conv',
        'conv2': '2_conv',
        'conv3': '3_conv',
        'projection': '0_conv',
    },
)

# Keras 3's .weights.h5 and .keras: the layers of each class, in the order of `model.layers`.
KERAS_NUMBERED = Numbered(
    leaves=Leaves(
        norm={'scale': '/0', 'bias': '/1', 'mean': '/2', 'var': '/3'},
        linear={'kernel': '/0', 'bias': '/1'},
        kernel='HWIO',
        head='IO',
    ),
    kinds={'norm': 'batch_normalization', 'conv': 'conv2d', 'head': 'dense'},
    stage_prefix='',
    order=('norm1', 'conv1', 'norm2', 'conv2', 'norm3', 'projection', 'conv3'),
    suffix='_{n}',
    first_suffix='',
)
