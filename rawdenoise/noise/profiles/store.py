"""The camera profiles of this machine: the user's, over those that come with rawdenoise."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass, replace
from pathlib import Path

from rawdenoise.atomic import atomic_output, remove_abandoned, write_bytes
from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.errors import ProfileError, ProfileExistsError, guard
from rawdenoise.files.parsed import ParsedFiles
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.profile import (
    CameraProfile,
    KnownDefects,
    MeasurementMethod,
    ProfilePoint,
    merge_profiles,
    profile_id,
)
from rawdenoise.noise.profiles.reading import parse_profile
from rawdenoise.noise.profiles.writing import format_profile

__all__ = [
    "CameraProfile",
    "KnownDefects",
    "MeasurementMethod",
    "ProfilePoint",
    "ProfileStore",
    "StoredProfile",
    "bundled_folder",
    "format_profile",
    "load_profile",
    "merge_profiles",
    "parse_profile",
    "profile_id",
    "save_profile",
]

PROFILE_SUFFIX = ".toml"
MAXIMUM_BYTES = 32 << 20  # bytes; more is no profile


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile and the file it stands in; `bundled` where that came with rawdenoise."""

    profile: CameraProfile
    path: Path
    bundled: bool


class ProfileStore:
    """The profiles of a folder, and under them those that come with rawdenoise; each is parsed once."""

    def __init__(self, folder: Path, *, bundled: Path | None = None) -> None:
        self.folder = folder
        self.bundled = bundled or bundled_folder()
        self._parsed = ParsedFiles(load_profile)

    def profiles(self) -> list[StoredProfile]:
        """Every readable profile, the user's first, by name."""
        return self._survey()[0]

    def broken(self) -> list[ProfileError]:
        """What is wrong with the files that cannot be understood."""
        return [error for _, error in self._survey()[1]]

    def find(self, camera: Camera) -> StoredProfile | None:
        """The profile of a camera: the user's before a bundled one, that of its mode before one for all.

        Raises:
            ProfileError: a file that is named after this camera cannot be understood.
        """
        profiles, broken = self._survey()
        for path, error in broken:  # better no result than one from weaker evidence, unnoticed
            if path.stem in (profile_id(camera), profile_id(replace(camera, mode=""))):
                raise error
        fitting = [stored for stored in profiles if stored.profile.is_of(camera)]
        return min(fitting, key=lambda stored: (stored.bundled, not stored.profile.camera.mode), default=None)

    def noise_of(self, camera: Camera, iso: int | None, levels: Levels) -> NoiseModel | None:
        """The noise of a camera's captures with these levels at an ISO; None where no profile knows it.

        Raises:
            ProfileError: as `find`.
        """
        stored = self.find(camera)
        known = None if stored is None else stored.profile.noise_at(iso, levels=levels)
        return None if known is None else known[0]

    def get(self, id: str) -> StoredProfile:
        """The profile of this id or camera name, or of any unique part of it.

        Raises:
            ProfileError: there is none, or several are called like this.
        """
        wanted = profile_id(Camera(model=id))
        by_id: dict[str, StoredProfile] = {}
        for stored in self.profiles():
            by_id.setdefault(stored.profile.id, stored)
        matches = [by_id[wanted]] if wanted in by_id else [by_id[name] for name in by_id if wanted in name]
        if not matches:
            raise ProfileError(f"no profile called {id!r}: `rawdenoise cameras list` shows all")
        if len(matches) > 1:
            names = ", ".join(match.profile.id for match in matches)
            raise ProfileError(f"{id!r} fits {len(matches)} profiles ({names}): give more of the name")
        return matches[0]

    def save(self, profile: CameraProfile) -> Path:
        """Keep a profile in the user's folder, in place of one of the same camera and mode."""
        path = self.folder / (profile.id + PROFILE_SUFFIX)
        save_profile(profile, path)
        return path

    def export(self, id: str, target: Path) -> Path:
        """Copy a profile's file to `target`, or into it if that is a folder; returns its path."""
        stored = self.get(id)
        output = target / (stored.profile.id + PROFILE_SUFFIX) if target.is_dir() else target
        write_bytes(output, _read(stored.path))
        return output

    def import_file(self, path: Path, *, replace: bool = False) -> CameraProfile:
        """Take in a profile as it stands, comments included, once it is found sound.

        Raises:
            ProfileError: it is not, or there is another of this camera and `replace` is false.
        """
        data = _read(path)
        profile = parse_profile(data, path)
        output = self.folder / (profile.id + PROFILE_SUFFIX)
        if output.exists() and not replace and _read(output) != data:
            raise ProfileExistsError(
                f"{path}: {output} is another profile of {profile.camera.name}: replace it, or keep it"
            )
        remove_abandoned(self.folder)
        write_bytes(output, data)
        return profile

    def find_own(self, id: str) -> Path:
        """Where a profile of the user's lies, broken ones too, by the name of the file.

        Raises:
            ProfileError: there is none, or it came with rawdenoise.
        """
        named = self.folder / (id.removesuffix(PROFILE_SUFFIX) + PROFILE_SUFFIX)
        if named.parent == self.folder and named.is_file():
            return named
        stored = self.get(id)
        if stored.bundled:
            raise ProfileError(
                f"{stored.profile.id} comes with rawdenoise and stays; one of your own goes before it"
            )
        return stored.path

    def remove(self, path: Path) -> None:
        """Delete the profile that `find_own` gave."""
        path.unlink()

    def _survey(self) -> tuple[list[StoredProfile], list[tuple[Path, ProfileError]]]:
        profiles, broken = [], []
        for folder in (self.folder, self.bundled):
            for path in sorted(folder.glob(f"*{PROFILE_SUFFIX}")):
                try:
                    profile = self._parsed(path)
                except ProfileError as error:
                    broken.append((path, error))
                else:
                    profiles.append(StoredProfile(profile, path, folder == self.bundled))
        return profiles, broken


def load_profile(path: Path) -> CameraProfile:
    """Read a profile.

    Raises:
        ProfileError: it cannot be read, or is not sound.
    """
    with guard(lambda reason: ProfileError(f"{path}: {reason}")):
        return parse_profile(_read(path), path)


def save_profile(profile: CameraProfile, output: Path) -> None:
    """Write a profile whole or not at all, checked by reading it back.

    Raises:
        ProfileError: it holds values that would not be read back; nothing is written.
    """
    data = format_profile(profile).encode()
    parse_profile(data, output)
    remove_abandoned(output.parent)
    with atomic_output(output) as temporary:
        temporary.write_bytes(data)


def bundled_folder() -> Path:
    """Where the profiles that come with rawdenoise lie: in the package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("rawdenoise")))
    installed = package / "_calibration"
    return installed if installed.is_dir() else package.parent / "calibration"


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise ProfileError(f"{path}: too large to be a noise profile")
        return path.read_bytes()
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read ({error.strerror or error})") from error
