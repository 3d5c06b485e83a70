"""Reads the files of a file sink, with nothing but Python's own JSON, as records that the judge takes.

A part (`.part`) is what the gateway still writes to: it is not read.
"""

import base64
import json
from pathlib import Path

from rig.judge import Record

_OF_THE_LINE = ("topic", "partition", "offset", "key", "key_base64", "data", "data_base64")


class Files:
    """What is in a folder, in the order of the names. Every line must be whole and JSON."""

    def __init__(self, folder: Path) -> None:
        self.records: list[Record] = []
        self.gaps: list[dict] = []
        self.names = sorted(path.name for path in folder.iterdir())
        for name in self.names:
            if not name.endswith(".part"):
                self._read(folder / name)

    @property
    def parts(self) -> list[str]:
        return [name for name in self.names if name.endswith(".part")]

    def _read(self, path: Path) -> None:
        text = path.read_bytes()
        assert text.endswith(b"\n"), f"{path.name} ends in the middle of a line"
        for number, line in enumerate(text.split(b"\n")[:-1], 1):
            try:
                fields = json.loads(line)
            except ValueError as error:
                raise AssertionError(f"{path.name}:{number} is not JSON: {error}: {line[:200]!r}") from error
            if "gap" in fields:
                self.gaps.append(fields["gap"])
            else:
                self.records.append(self._record(fields))

    def _record(self, fields: dict) -> Record:
        headers = {name: value for name, value in fields.items() if name not in _OF_THE_LINE}
        # As the sender wrote it, but for what JSON leaves open: the judge looks for its id.
        value = _bytes(fields, "data", lambda data: json.dumps(data).encode())
        key = _bytes(fields, "key", str.encode)
        return Record(fields["topic"], fields["partition"], len(self.records), key, value, headers)

    def first_offsets(self) -> dict[tuple[str, int], list[int]]:
        """By topic and partition, the journal's offsets in the order in which they first stand."""
        seen: dict[str, None] = {}
        for record in self.records:
            seen.setdefault(record.event_id)
        found: dict[tuple[str, int], list[int]] = {}
        for ce_id in seen:
            _, _, topic, partition, offset = ce_id.split("/")
            found.setdefault((topic, int(partition)), []).append(int(offset))
        return found


def _bytes(fields: dict, name: str, plain) -> bytes:
    if name in fields:
        return plain(fields[name])
    return base64.b64decode(fields[f"{name}_base64"], validate=True)
