"""What a run costs the machine: counters of GPUs, host and process, training speed,
TensorBoard, and the versions and devices that a run was made with.

Knows nothing of networks or data sets.
"""
