"""One short file for each experiment; in the wheel, this folder is `resnet_jax.configs`."""
