"""The table of edits: a row an edit, a column a field of the workflow."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .results import PAGE, TABLE

NAME = "name"
TAKEN = tuple(f"{name}{ending}" for name in (PAGE, TABLE) for ending in ("", ".unfinished"))


class BatchError(ValueError):
    """What is wrong with the table, the workflow or a row, in one sentence."""


@dataclass(frozen=True)
class Row:
    """One edit.

    name: The folder of its results; fields: {column: value}, those left empty are not among them.
    """

    name: str
    fields: dict[str, object]


def read_table(path: Path) -> list[Row]:
    """The rows of a .csv file (the first line names the columns) or of a .jsonl file (an object a line).

    Raises:
        BatchError: For a file that cannot be read so, for names that occur twice or cannot name a folder.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BatchError(f"{path} cannot be read ({error}); expected a .csv or .jsonl file in UTF-8.") from None
    records = _read_jsonl(text, path) if path.suffix.lower() == ".jsonl" else _read_csv(text, path)
    rows = [_row(record, number) for number, record in enumerate(records, 1)]
    if not rows:
        raise BatchError(f"{path} has no rows; expected one for each edit.")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row.name.casefold() in seen:
            raise BatchError(f"Rows {seen[row.name.casefold()]} and {number} are both named {row.name}; rename one.")
        seen[row.name.casefold()] = number
    return rows


def _read_csv(text: str, path: Path) -> list[dict]:
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else "\t" if first.count("\t") > first.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    records = []
    try:
        _check_columns(reader.fieldnames or (), path)
        for record in reader:
            if None in record:
                raise BatchError(
                    f"{path}: row {len(records) + 1} has more values than the first line has columns; "
                    "put values with a comma into quotation marks."
                )
            if any(value and value.strip() for value in record.values()):  # spreadsheets leave empty lines
                records.append(record)
    except csv.Error as error:
        raise BatchError(
            f"{path}: row {len(records) + 1} cannot be read ({error}); is a quotation mark not closed? "
            'Within a value in quotation marks, write "" for one.'
        ) from None
    return records


def _check_columns(columns: Sequence[str], path: Path) -> None:
    """Refuses a column that occurs twice, of which one would be lost."""
    names = [column.strip().casefold() for column in columns if column.strip()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise BatchError(f"{path} has the column '{twice}' twice; leave one out, or name it 'Node title.{twice}'.")


def _read_jsonl(text: str, path: Path) -> list[dict]:
    records = []
    for number, line in enumerate(text.split("\n"), 1):  # JSON may hold other ends of lines in its texts
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BatchError(f"{path}: line {number} is not JSON ({error}).") from None
        if not isinstance(record, dict):
            raise BatchError(f'{path}: line {number} is no object; expected {{"clip": ..., "target prompt": ...}}.')
        records.append(record)
    return records


def _row(record: dict, number: int) -> Row:
    fields = {column.strip(): value.strip() if isinstance(value, str) else value for column, value in record.items()}
    fields = {column: value for column, value in fields.items() if value not in ("", None)}
    name = str(next((fields.pop(key) for key in list(fields) if key.casefold() == NAME), "")).strip()
    name = name or f"{number:03d}"  # whatever the number of rows, so that a table that grows finds its results again
    if not re.fullmatch(r"[^\\/:*?\"<>|\x00-\x1f]{1,100}", name) or name.startswith(".") or name.endswith((".", " ")):
        raise BatchError(f"Row {number} is named {name!r}, which cannot name a folder; use letters and digits.")
    if name.casefold() in TAKEN:
        raise BatchError(f"Row {number} is named {name}, as a file that the batch writes itself; choose another name.")
    return Row(name, fields)
