"""The command `prepare`: storing a data set again with smaller images, as a TFDS data set.

Knows nothing of training.
"""
