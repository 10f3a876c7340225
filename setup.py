"""Packages of the wheel: `resnet_jax`, and the folder `configs` as `resnet_jax.configs`.

Everything else is in pyproject.toml, which can either search for packages or rename one.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=['resnet_jax*']), 'resnet_jax.configs'],
    package_dir={'resnet_jax.configs': 'configs'},
)
