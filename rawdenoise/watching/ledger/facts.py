"""Small things that are to be remembered."""

from __future__ import annotations

from rawdenoise.watching.ledger.database import Database, encode_text


class Facts:
    """Texts by their keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> str | None:
        """Give what was remembered, if it was."""
        rows = self._database.rows("SELECT value FROM facts WHERE key = ?", (encode_text(key),))
        return str(rows[0][0]) if rows else None

    def set(self, key: str, value: str) -> None:
        """Remember it."""
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (encode_text(key), encode_text(value)))
