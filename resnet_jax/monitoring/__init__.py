"""Monitoring of a run: counters of the machine, training speed, TensorBoard, and the versions and
devices in use.

Knows nothing of networks or data sets.
"""
