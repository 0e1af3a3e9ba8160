"""The version, in one place: the wheel, the weights and the findings all quote it."""

__version__ = "0.1.0"
