"""What became of a prompt, and the table that counts it."""

import re
from collections import Counter
from dataclasses import dataclass, field

from tools.comfyui_client import Run

CLEAR, REFUSED, UNCLEAR, ACCEPTED = OUTCOMES = "clear", "refused by ComfyUI", "unclear", "accepted"
_SENTENCE = re.compile(r"[^\n]{,450}\.\Z")
_SECOND_SENTENCE = re.compile(r"[a-z)]\. [A-Z]")


def outcome(run: Run, names: list[str]) -> str:
    """How a prompt with something bad in it ended.

    Args:
        run: What became of it.
        names: The pack's nodes, as they are called on the screen.

    Returns:
        CLEAR: a sentence with a node's name; REFUSED: by ComfyUI or one of its own nodes; ACCEPTED: it ran; UNCLEAR:
        anything else.
    """
    if run.status == "success":
        return ACCEPTED
    message = run.error.get("exception_message", "").strip()
    begin = min((message.find(f"{name}: ") for name in names if f"{name}: " in message), default=-1)
    if begin >= 0:
        said = message[begin:]
        return CLEAR if _SENTENCE.match(said) and not _SECOND_SENTENCE.search(said) else UNCLEAR
    if run.status == "rejected":
        return REFUSED
    ours = any("fatezero" in line for line in run.error.get("traceback", []))
    return UNCLEAR if ours or "NaN came out" in message or run.status != "error" else REFUSED


@dataclass
class Counts:
    """How often each outcome came, for each node; and each kind of unclear one, with the first input that showed it."""

    rows: dict[str, Counter] = field(default_factory=dict)
    unclear: dict[str, str] = field(default_factory=dict)

    def add(self, node: str, result: str, message: str, tried: str) -> None:
        self.rows.setdefault(node, Counter())[result] += 1
        if result == UNCLEAR:
            self.unclear.setdefault(f"{node}: {message.strip()[:300]}", tried)

    @property
    def tried(self) -> int:
        return sum(row.total() for row in self.rows.values())

    def table(self) -> list[str]:
        """In Markdown, a node a line and their sum below."""
        lines = [f"| node | inputs | {' | '.join(OUTCOMES)} |", "|---|" + "---|" * (len(OUTCOMES) + 1)]
        for node, row in [*sorted(self.rows.items()), ("all", sum(self.rows.values(), Counter()))]:
            lines.append(f"| {node} | {row.total()} | {' | '.join(str(row[result]) for result in OUTCOMES)} |")
        return lines
