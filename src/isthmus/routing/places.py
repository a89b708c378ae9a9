"""The place: one key of one backend, which is what limits, cool-downs and affinity belong to."""

from isthmus.request import Place

__all__ = ["Place"]
