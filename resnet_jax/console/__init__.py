"""What a person sees and presses: log and progress lines, plots in plain text, signals to stop.

Knows nothing of JAX.
"""
