"""Reports: tables, figures and one HTML page, made from the files of a run.

Nothing is evaluated again. This package does not know training or devices.
"""
