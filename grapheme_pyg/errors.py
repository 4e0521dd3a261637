"""Errors in what comes from outside: each says which file or argument, what was expected there and what came."""

from grapheme_pyg.names import printable


class GraphemeError(ValueError):
    """Something that came from outside is not as it must be. The base of all of them.

    Its text may hold names from outside, and is one line that a terminal shows and does not obey.
    """

    def __str__(self) -> str:
        """The message, escaped."""
        return printable(super().__str__())


class ImageError(GraphemeError):
    """An image, or a file of one, cannot be read or is of a kind that is not accepted."""


class DatasetError(GraphemeError):
    """A file or folder of labelled images is damaged, contradicts itself, or is not what it should be."""


class GraphError(GraphemeError):
    """A graph's fields have another dtype, shape or range than they must have, or contradict each other."""


class ModelFileError(GraphemeError):
    """A saved model is damaged, of another format or version, or its parts do not fit together."""


class CheckpointError(GraphemeError):
    """A checkpoint of training cannot be read or written, belongs to another run, or holds what training cannot use."""


class TrainingError(GraphemeError):
    """Training cannot go on: a loss or weight is not finite, a process is gone, or another trains in the folder."""


class ImageWarning(UserWarning):
    """Images were taken as they are, or scaled, but they look as if something else was meant."""


class TrainingWarning(UserWarning):
    """A class is never recognised, two share a template, or training goes on from the checkpoint before the last."""
