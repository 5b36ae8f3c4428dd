"""How the demo looks: a table that lives on a terminal, lines elsewhere, JSON for programs."""

import sys
from abc import abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from codex.cli.output import Column, as_line, printable, table, tell, terminal_size, terminal_width

if TYPE_CHECKING:
    from codex.devnet.demo import Happening, Ledger, Slots
    from codex.devnet.demo_watch import SlotRow

COLUMNS = (
    Column("SLOT", right=True),
    Column("STATE"),
    Column("HOST"),
    Column("PROOFS", right=True),
    Column("MISSED", right=True),
    Column("COLLATERAL", right=True, least=0),
)


class Screen(AbstractContextManager["Screen"]):
    """Shows what happens, for the length of a block; plain lines on standard output."""

    @abstractmethod
    def show(self, happening: "Happening", at: float) -> None:
        """Show what happened `at` seconds after the beginning."""

    def close(self) -> None:
        """Show nothing more that moves."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlainScreen(Screen):
    """Lines, one after the other."""

    def __init__(self) -> None:
        self._rows: dict[int, SlotRow] = {}

    def show(self, happening: "Happening", at: float) -> None:
        from codex.devnet.demo import Began, Ledger, Said, Slots

        match happening:
            case Began(_, text):
                self.line(f"\n{at:4.1f} s  {text}")
            case Said(text):
                self.line(f"        {text}")
            case Slots():
                self.slots(happening)
            case Ledger():
                self.line("\n" + ledger_table(happening))

    def line(self, text: str) -> None:
        """Print a line, or several."""
        tell("\n".join(printable(line) for line in text.split("\n")))

    def slots(self, happening: "Slots") -> None:
        """Print each slot that is new; of proofs that were only one more, all in a line."""
        proved = False
        for row in happening.rows:
            before = self._rows.get(row.index)
            self._rows[row.index] = row
            if before is None or (before.state, before.host, before.missed) != (
                row.state,
                row.host,
                row.missed,
            ):
                self.line("        " + sentence(row, happening.full))
            else:
                proved |= before.proofs != row.proofs
        if proved:
            counts = "  ".join(f"{row.index}: {row.proofs}" for row in happening.rows)
            self.line(f"        proofs taken, slot by slot  {counts}")


class LiveScreen(PlainScreen):
    """The same lines, with the slots in a table below them that stays in its place."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=sys.stdout, width=terminal_size(sys.stdout).columns)
        self._live: Live | None = Live(console=self._console, auto_refresh=False, redirect_stderr=False)
        self._live.start()

    def line(self, text: str) -> None:
        self._console.print(
            "\n".join(printable(line) for line in text.split("\n")),
            soft_wrap=True,
            markup=False,
            highlight=False,
            emoji=False,
        )

    def slots(self, happening: "Slots") -> None:
        from rich.text import Text

        if self._live is not None:
            self._live.update(Text(slots_table(happening, self._console.width)), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class JsonScreen(Screen):
    """Everything that happens, each on a line of its own."""

    def show(self, happening: "Happening", at: float) -> None:
        tell(as_line({"at": round(at, 2), **as_object(happening)}))


def words(row: "SlotRow", full: int) -> list[str]:
    """A slot in words, one for each column."""
    state, left = row.state.name.lower(), _left(row, full)
    return [str(row.index), state, row.host, str(row.proofs), str(row.missed), left]


def sentence(row: "SlotRow", full: int) -> str:
    """A slot in a line of its own."""
    if not row.host:
        return f"slot {row.index} is {'lost, and free for repair' if row.state else 'free'}"
    missed = f", {row.missed} missed" if row.missed else ""
    held = f"{row.proofs} {'proof' if row.proofs == 1 else 'proofs'}{missed}"
    return (
        f"slot {row.index} is {row.state.name.lower()}: {row.host}, {held}, {_left(row, full)} of collateral"
    )


def _left(row: "SlotRow", full: int) -> str:
    return f"{100 * row.collateral // full} %" if row.host else ""


def slots_table(slots: "Slots", width: int | None) -> str:
    """All slots, in lines of at most so many cells."""
    return "\n" + table(COLUMNS, [words(row, slots.full) for row in slots.rows], width)


def ledger_table(ledger: "Ledger") -> str:
    """What each account has gained, and what it must have, in units of the token."""
    columns = (Column("ACCOUNT"), Column("CHANGE", right=True), Column("BY THE RULES", right=True), Column())
    rows = [
        [line.name, f"{line.change:+,}", f"{line.expected:+,}", "" if line.right else "WRONG"]
        for line in ledger.lines
    ]
    return table(columns, rows, terminal_width())


def as_object(happening: "Happening") -> dict[str, Any]:
    """What happened, for programs. Amounts are decimal texts, in units of the token."""
    from codex.devnet.demo import Began, Said, Slots

    match happening:
        case Began(name, text):
            return {"event": "phase", "phase": name, "text": text}
        case Said(text):
            return {"event": "said", "text": text}
        case Slots(rows):
            return {"event": "slots", "slots": [_slot(row) for row in rows]}
    return {
        "event": "ledger",
        "accounts": [
            {
                "name": line.name,
                "account": str(line.account),
                "before": str(line.before),
                "after": str(line.after),
                "change": str(line.change),
                "expected": str(line.expected),
            }
            for line in happening.lines
        ],
    }


def _slot(row: "SlotRow") -> dict[str, Any]:
    return {
        "index": row.index,
        "state": row.state.name.lower(),
        "host": row.host or None,
        "proofs": row.proofs,
        "missed": row.missed,
        "collateral": str(row.collateral),
    }
