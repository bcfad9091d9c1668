"""One tree of errors: every message names the file, what happened to it and what to do next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

UNFORESEEN = "is damaged in a way nobody foresaw"
"""How a refusal begins that only the guard could give: a gap in the reader, which the fuzz tests look for."""
NO_MEMORY = "needs more memory than there is"

Stop = Callable[[], bool]


def never() -> bool:
    """The stop of what nobody stops."""
    return False


class Stopped(Exception):  # noqa: N818 - no error: a file was given up because its batch was stopped
    """The batch was stopped while this file was under way."""


class RawDenoiseError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one line fit for a user."""

    exit_code = 1


def exit_code_of(error: Exception) -> int:
    """Tell what the process exits with if this is its only error; 1 of a bug."""
    return error.exit_code if isinstance(error, RawDenoiseError) else 1


class FileError(RawDenoiseError):
    """Something is wrong with one file; the line reads `path: reason`."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason


class UnreadableError(FileError):
    """The file's bytes cannot be had (permissions, a device error)."""


class NotFoundError(UnreadableError):
    """There is no such file."""


class DirectoryError(UnreadableError):
    """A directory stands where a file was expected."""


class EmptyFileError(UnreadableError):
    """The file holds no bytes at all."""


class TruncatedError(UnreadableError):
    """The file ends before its picture does."""


class OutOfMemoryError(UnreadableError):
    """The file needs more memory than there is, or than its decoder is allowed."""


class DecoderCrashedError(UnreadableError):
    """The process that decoded the file died of it."""


class DecoderTimeoutError(UnreadableError):
    """The file was still being decoded when its time was over."""


class NotAnImageError(FileError):
    """The content is of no known raw format."""


class UnsupportedRawError(FileError):
    """A raw file, but not one whose Bayer mosaic can be had."""


class XTransError(UnsupportedRawError):
    """A Fujifilm X-Trans mosaic (6x6), not a Bayer one."""


class LinearRawError(UnsupportedRawError):
    """Already demosaiced: linear RGB, sRAW or mRAW."""


class FoveonError(UnsupportedRawError):
    """A Foveon sensor: three layers, no mosaic."""


class MonochromeError(UnsupportedRawError):
    """A sensor without a colour filter array."""


class UnsupportedCfaError(UnsupportedRawError):
    """A colour filter array that is not 2x2 RGB Bayer."""


class UnsupportedCompressionError(UnsupportedRawError):
    """The raw data is packed in a way LibRaw cannot decode."""


class LayoutError(FileError):
    """A headerless or array file does not fit the layout given on the command line."""


class PatternError(RawDenoiseError):
    """A pattern by which outputs cannot be named."""

    exit_code = 2

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"names cannot follow {text!r}: {reason}")


class NamelessScenesError(FileError):
    """Blocks of scenes that nothing names, so that their cameras are not known."""


class OutputError(FileError):
    """An output could not be written; nothing was left behind."""


class OutputExistsError(OutputError):
    """The output is there already and was to be left alone."""


class DiskFullError(OutputError):
    """No space left for the output; the temporary file was removed."""


class VerificationError(OutputError):
    """What was written does not read back as what was meant; the temporary file was removed."""


class ModelError(RawDenoiseError):
    """A model cannot be used."""

    exit_code = 3


class ModelMissingError(ModelError):
    """No model fits the camera."""


class ModelFileError(ModelError):
    """A model's file, at `path` where that is known, is broken, altered or foreign."""

    def __init__(self, line: str, path: Path = Path()) -> None:
        super().__init__(line)
        self.path = path


class NothingMatchedError(RawDenoiseError):
    """There is no file to work on."""

    exit_code = 4


class ProfileError(RawDenoiseError):
    """A camera's noise profile is missing, or its file cannot be understood."""

    exit_code = 3


class ProfileExistsError(ProfileError):
    """There is another profile of this camera already, and it was not to be replaced."""


class TrainingError(RawDenoiseError):
    """Training cannot start or cannot go on."""


class ScratchError(TrainingError):
    """The folder for tiles and checkpoints cannot be written."""


class TooFewCapturesError(TrainingError):
    """No camera has captures enough."""


class UnusableCleanError(TrainingError):
    """The captures that were given as clean ones are of no use as such."""


class NoCleanCapturesError(TrainingError):
    """Unpaired learning was asked for, and no capture is clean."""


class UnfinishableError(TrainingError):
    """There is no network yet of which a model could be made."""


class CalibrationError(RawDenoiseError):
    """Darks, flats or captures that tell nothing, or nothing true, about a camera's noise."""


class MissingFlatsError(CalibrationError):
    """There are darks alone, which do not tell the gain."""


class UnusableFlatsError(CalibrationError):
    """Frames that were sorted as flats tell nothing; as ordinary captures they may."""


class NamelessCameraError(CalibrationError):
    """The files do not say which camera they are of, and no name was given."""


class SeveralCamerasError(CalibrationError):
    """The frames are of several cameras, where one was asked for."""


class HostFileError(FileError):
    """A file of a photo program's plug-in was changed by someone, or cannot be changed by us."""


class AlteredPluginError(HostFileError):
    """A plug-in's file is not as it was installed, and was not to be replaced."""


class SetupError(RawDenoiseError):
    """The installation lacks something that was asked for (an extra, a device)."""

    exit_code = 3


class HostMissingError(SetupError):
    """A photo program that a plug-in was asked for is not here, or cannot be on this system."""


class ExtensionError(SetupError):
    """What another package adds is not there, or is not what it should be."""


def is_damage(error: RawDenoiseError) -> bool:
    """Whether a file was refused because its bytes are no good, and not for what it is a picture of."""
    return isinstance(error, UnreadableError | NotAnImageError)


# What nobody foresaw in a file is an error of that file, and of no other.


@contextmanager
def guard(refuse: Callable[[str], RawDenoiseError]) -> Iterator[None]:
    """Let no exception out of a reader but our own; `refuse` makes the error of a reason.

    Raises:
        RawDenoiseError: as the reader raises it, or of what it did not foresee.
    """
    try:
        yield
    except RawDenoiseError:
        raise
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise refuse(NO_MEMORY) from error
    except Exception as error:
        log.debug("nobody foresaw this", exc_info=True)
        raise refuse(f"{UNFORESEEN} ({_name_error(error)})") from error


@contextmanager
def guard_file(path: Path) -> Iterator[None]:
    """Let no exception out of the reader of a capture but our own.

    Raises:
        UnreadableError: what nobody foresaw. OutOfMemoryError: there is not enough memory for it.
    """
    with guard(lambda reason: (OutOfMemoryError if reason == NO_MEMORY else UnreadableError)(path, reason)):
        yield


def explain(error: Exception) -> str:
    """Say an error in one line: our own as it is, a bug by its type, with a traceback in the log."""
    if isinstance(error, RawDenoiseError):
        return str(error)
    log.debug("a bug", exc_info=error)
    return NO_MEMORY if isinstance(error, MemoryError) else f"unexpected {_name_error(error)}"


def _name_error(error: Exception) -> str:
    words = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {words}".removesuffix(": ")
