"""Errors in external input; each message names the file or argument, what was expected and what came."""

from grapheme_pyg.names import printable


class GraphemeError(ValueError):
    """External input is invalid. The base class of the package's errors.

    The message can contain external names; it is shown on one line, with control characters escaped.
    """

    def __str__(self) -> str:
        """Returns the escaped message."""
        return printable(super().__str__())


class ImageError(GraphemeError):
    """An image or image file cannot be read or has an unsupported format."""


class DatasetError(GraphemeError):
    """A file or folder of labelled images is damaged, inconsistent, or of another kind than expected."""


class GraphError(GraphemeError):
    """A graph's field has the wrong dtype, shape or range, or contradicts another field."""


class ModelFileError(GraphemeError):
    """A saved model is damaged, of another format or version, or its parts do not fit together."""


class CheckpointError(GraphemeError):
    """A checkpoint of training cannot be read, written or used, or belongs to another run."""


class TrainingError(GraphemeError):
    """Training cannot continue: a loss or weight is not finite, a process died, or another one uses the folder."""


class ImageWarning(UserWarning):
    """Images were accepted, but they look as if something else was meant."""


class TrainingWarning(UserWarning):
    """Training continues, or has ended, with a problem that the message describes, such as a class never recognised."""
