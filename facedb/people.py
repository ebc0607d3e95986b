"""Who is enrolled: list, show, rename, merge, remove."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from facedb.errors import InputError, UnknownIdentity
from facedb.gallery import Gallery
from facedb.names import bare, checked_name, composed, nearest
from facedb.photos import digest_of
from facedb.store import FileRow, Person, StoredTemplate, Writer
from facedb.typed import typed

_SHOWN = 10  # files of somebody of whom every photo was left out


@dataclass(frozen=True, slots=True)
class PersonDetails:
    """A person, their templates, and their files that were refused."""

    person: Person
    templates: tuple[StoredTemplate, ...]
    refused: tuple[FileRow, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed.

    Attributes:
        name: the person.
        templates: how many templates went.
        folders: folders that still hold photos which the person was enrolled from.
    """

    name: str
    templates: int
    folders: tuple[str, ...]


class People:
    """The people of a gallery. A name may be an alias everywhere."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def list(self) -> tuple[Person, ...]:
        """Everyone, by name, capitals among the small letters."""
        people = self._gallery.store.people()
        return tuple(sorted(people, key=lambda person: (person.name.casefold(), person.name)))

    def show(self, name: str) -> PersonDetails:
        """One person; UnknownIdentity."""
        person = self._find(name)
        files = self._gallery.store.files_of([person.name, *person.aliases])
        return PersonDetails(
            person,
            tuple(self._gallery.store.templates_of(person.identity_id)),
            tuple(row for _, row in sorted(files.items()) if row.reason is not None),
        )

    def refused(self, name: str) -> bool:
        """Whether files are remembered under this name."""
        return bool(self._gallery.store.files_of([composed(name)]))

    def alike(self, name: str) -> str | None:
        """A name that is this one but for case, spaces and the like; None where it is there."""
        names = self._gallery.store.names()
        if composed(name) in names:
            return None
        wanted = bare(name)
        return min((other for other in names if bare(other) == wanted), default=None)

    def names(self) -> frozenset[str]:
        """Every name and alias."""
        return frozenset(self._gallery.store.names())

    def beside(self, new: Collection[str]) -> dict[str, str]:
        """Of these names, those that are another's but for case, spaces and the like -> the other.

        Where there are several, the first by the alphabet.
        """
        groups: dict[str, list[str]] = {}
        for name in sorted(self.names()):
            groups.setdefault(bare(name), []).append(name)
        return {
            name: next(other for other in group if other != name)
            for group in groups.values()
            if len(group) > 1
            for name in group
            if name in new
        }

    def rename(self, name: str, new: str) -> Person:
        """Give a person another name; the old one stays as an alias, so that indexing the same
        folder again does not split them.

        Raises:
            UnknownIdentity, InputError (the new name is empty or somebody else's).
        """
        new = checked_name(new)
        # Nobody else commits in such a block: whom it finds are who they are until its end.
        with self._gallery.writing() as writer:
            person = self._find(name)
            if new == person.name:
                return person
            taken = self.find(new)
            if taken is not None and taken.identity_id != person.identity_id:
                raise InputError(
                    f"{new} is somebody else in this gallery; if they are one person: "
                    + typed("people merge", person.name, taken.name, gallery=self._gallery.folder)
                )
            writer.rename_identity(person.identity_id, person.name, new)
        aliases = sorted({*person.aliases, person.name} - {new})
        return replace(person, name=new, aliases=tuple(aliases))

    def merge(self, name: str, into: str) -> Person:
        """Make two people one: the templates of `name` go to `into`, the name becomes an alias.

        Raises:
            UnknownIdentity, InputError (they are one person already).
        """
        with self._gallery.writing() as writer:
            source, target = self._find(name), self._find(into)
            if source.identity_id == target.identity_id:
                raise InputError(f"{name} and {into} are one person already")
            writer.merge_identity(source.identity_id, source.name, target.identity_id)
        aliases = sorted({*target.aliases, *source.aliases, source.name})
        held = target.templates + source.templates
        return replace(target, aliases=tuple(aliases), templates=held)

    def remove(self, name: str) -> Removal:
        """Remove a person for good: rows, vectors, index entries, aliases, file names.

        Raises:
            UnknownIdentity.
        """
        with self._gallery.writing() as writer:
            names, enrolled, files = self._held(name)
            paths, removed = self._forgotten(writer, files, enrolled)
        return self._swept(names[0], removed, paths)

    def remove_photos(self, name: str, photos: Iterable[str | os.PathLike[str]]) -> Removal:
        """Remove some photos of a person for good: templates, vectors, index entries, file names.

        Whoever has none left is enrolled no more.

        Args:
            photos: files that are remembered as theirs, enrolled or left out, or copies of them.

        Raises:
            UnknownIdentity, InputError (one is no photo of theirs; nothing is removed).
        """
        with self._gallery.writing() as writer:
            names, enrolled, files = self._held(name)
            doomed: set[str] = set()
            named: set[str] = set()
            for photo in photos:
                row = files.get(os.path.abspath(photo))
                digest = digest_of(photo) if row is None else row.sha256
                if row is not None:
                    named.add(row.path)
                elif digest not in enrolled:
                    raise self._not_theirs(os.fspath(photo), names[0])
                if digest in enrolled:
                    doomed.add(digest)
            paths, removed = self._forgotten(writer, named, doomed)
        return self._swept(names[0], removed, paths)

    def _held(self, name: str) -> tuple[tuple[str, ...], set[str], dict[str, FileRow]]:
        """Name and aliases of a person, digests of their photos, and their remembered files.

        Of whom every photo was refused, only the names of files are stored.
        """
        store, person = self._gallery.store, self.find(name)
        names: tuple[str, ...] = (composed(name),)
        enrolled: set[str] = set()
        if person is not None:
            names = (person.name, *person.aliases)
            enrolled = {one.sha256 for one in store.templates_of(person.identity_id)}
        files = store.files_of(names)
        if person is None and not files:
            raise self._unknown(name)
        return names, enrolled, files

    def _forgotten(
        self, writer: Writer, files: Collection[str], digests: Collection[str]
    ) -> tuple[set[str], int]:
        """Forget files, and photos wherever they lie: every path forgotten, templates removed."""
        paths = set(files).union(*self._gallery.store.paths_of(sorted(digests)).values())
        writer.forget_files(sorted(paths))
        return paths, writer.remove_orphans(sorted(digests))

    def _swept(self, name: str, removed: int, paths: Iterable[str]) -> Removal:
        """What was removed, once neither the index file nor the log holds it any more."""
        if not self._gallery.settle():
            self._gallery.store.empty_log()
        folders = {os.path.dirname(path) for path in paths if os.path.exists(path)}
        return Removal(name, removed, tuple(sorted(folders)))

    def find(self, name: str) -> Person | None:
        """Whoever has this name or alias."""
        name = composed(name)
        for person in self._gallery.store.people():
            if name == person.name or name in person.aliases:
                return person
        return None

    def _find(self, name: str) -> Person:
        person = self.find(name)
        if person is None:
            raise self._unknown(name)
        return person

    def _not_theirs(self, photo: str, name: str) -> InputError:
        return InputError(
            f"{photo}: no photo of {name} in {self._gallery.folder}; see: "
            + typed("people show", name, gallery=self._gallery.folder)
        )

    def _unknown(self, name: str) -> UnknownIdentity:
        store = self._gallery.store
        near = nearest(name, store.names())
        see = "see" if near is None else f"did you mean {near}? See"
        left_out = [
            f"\n  left out: {row.path}: {row.reason}"
            for row in store.files_of([composed(name)]).values()
        ]
        return UnknownIdentity(
            f"{name!r}: nobody of this name is enrolled in {store.folder}; "
            f"{see}: {typed('people list', gallery=store.folder)}{''.join(left_out[:_SHOWN])}"
        )
