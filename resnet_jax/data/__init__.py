"""Data sets: from stored images to batches of uint8 images.

The order of the examples depends only on the seed and the step, so a continued run gets the batches
of an uninterrupted one. The only package that imports TensorFlow. Knows nothing of networks or
training.
"""
