"""Sources of examples: scikit-learn's digits, TFDS data sets and folders of images.

Each module opens a split of its kind of data set as a `Source`.

Knows nothing of batches, shuffling over epochs or augmentation.
"""
