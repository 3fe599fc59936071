"""What the puppets of the Python clients share: the lines that ../groups/stage.py describes, in both directions.

A library gives a class `Member` with the few things that a member does, and an `administer(verb, words)`.
"""
import os
import queue
import sys
import threading

BROKER = os.environ["BROKER"]
# The lines of all members go through one pipe, each whole.
telling = threading.Lock()


def tell(*words):
    with telling:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()


class Refused(Exception):
    """An error of Kafka's that was told as a value; its number."""


class Member:
    """A consumer in a thread of its own: only that one touches it.

    To be given by a library: open(settings), turn() (read something, for at most a tenth of a second, and commit it),
    commit(partition, offset, text), committed(partition) and close().
    """

    def __init__(self, name, settings):
        self.name, self.settings = name, settings
        self.commands = queue.SimpleQueue()
        self.partitions = set()
        threading.Thread(target=self.live, daemon=True).start()

    def live(self):
        try:
            self.open(self.settings)
            while True:
                try:
                    command, words = self.commands.get_nowait()
                except queue.Empty:
                    self.turn()
                    continue
                if command == "leave":
                    break
                self.obey(command, words)
            self.close()
            tell(self.name, "left")
        except Exception as error:  # told to whoever waits
            tell(self.name, "failed", f"{error!r}".replace("\n", " "))

    def obey(self, command, words):
        try:
            if command == "commit":
                self.commit(int(words[0]), int(words[1]), words[2] if len(words) > 2 else "")
                tell(self.name, "did")
            else:
                tell(self.name, "did", *self.committed(int(words[0])))
        except Exception as error:
            tell(self.name, "refused", self.code_of(error))

    def given(self, partitions):
        new = sorted(set(partitions) - self.partitions)
        self.partitions.update(new)
        if new:
            tell(self.name, "+", *new)

    def taken(self, partitions):
        gone = sorted(set(partitions) & self.partitions)
        self.partitions.difference_update(gone)
        if gone:
            tell(self.name, "-", *gone)

    def read(self, partition, offset, value):
        tell(self.name, "=", partition, offset, value.decode())

    def confirmed(self, offsets):
        """Partitions and the offsets that the broker has confirmed."""
        for partition, offset in offsets.items():
            tell(self.name, "^", partition, offset)


def run(member, administer, code_of, *can):
    """Obeys until the end of the input."""
    member.code_of = staticmethod(code_of)
    members = {}
    tell("ready", *can)
    for line in sys.stdin:
        command, name, *words = line.split(" ")
        words = [word.rstrip("\n") for word in words]
        if command == "join":
            members[name] = member(name, dict(word.split("=", 1) for word in words))
        elif command == "admin":
            try:
                tell("admin", "did", *administer(name, *words))
            except Exception as error:
                tell("admin", "refused", code_of(error) or f"{error!r}".replace(" ", "_"))
        else:
            members[name.rstrip("\n")].commands.put((command, words))
    os._exit(0)
