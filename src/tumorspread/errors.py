"""The exceptions of tumorspread.

Whatever a user can cause ends in one of these; `cli` catches this tree alone and prints one line.

TumorspreadError
├── ReadError        a file or folder cannot be read as what it should be
├── GeometryError    the voxels' places in the world are missing, broken or ambiguous
├── MaskError        a mask is not a mask, or does not belong to its scan
├── DatasetError     a data set's folder, list or split is wrong
├── DownloadError    a fetch from a server or an archive did not come to its end
├── RecipeError      a setting is unknown, of the wrong type or out of range
├── WeightsError     a weights file is damaged, foreign or does not fit
├── TrainingError    a training cannot start or go on
├── OutputError      a result cannot be written
└── NetworkError     another system cannot be reached, refuses, or answers by half
"""

from __future__ import annotations


class TumorspreadError(Exception):
    """Root of the tree. The message says what was found, what was expected and what to do."""


class ReadError(TumorspreadError):
    """A file or folder cannot be read as what it should be."""


class GeometryError(TumorspreadError):
    """The voxels' places in the world are missing, broken or ambiguous."""


class MaskError(TumorspreadError):
    """A mask is not a mask, or does not belong to its scan."""


class DatasetError(TumorspreadError):
    """A data set's folder, list or split is wrong."""


class DownloadError(TumorspreadError):
    """A fetch from a server or an archive did not come to its end."""


class RecipeError(TumorspreadError):
    """A setting is unknown, of the wrong type or out of range."""


class WeightsError(TumorspreadError):
    """A weights file is damaged, foreign or does not fit."""


class TrainingError(TumorspreadError):
    """A training cannot start or go on."""


class OutputError(TumorspreadError):
    """A result cannot be written."""


class NetworkError(TumorspreadError):
    """Another system cannot be reached, refuses, or answers by half."""
