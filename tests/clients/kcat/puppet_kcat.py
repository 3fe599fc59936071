"""kcat -G, as a puppet. Each member is a process; what it reads and what it says about its group come by one pipe."""
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../python"))
import puppet


class Member(puppet.Member):
    def open(self, settings):
        how = {
            "auto.offset.reset": settings["reset"],
            "enable.auto.commit": "false" if settings["commit"] == "none" else "true",
            "auto.commit.interval.ms": 200,
            "partition.assignment.strategy": settings["assignor"],
            "session.timeout.ms": settings["session"],
            "heartbeat.interval.ms": 300,
        }
        if "instance" in settings:
            how["group.instance.id"] = settings["instance"]
        options = [word for key, value in how.items() for word in ("-X", f"{key}={value}")]
        self.process = subprocess.Popen(
            ["kcat", "-b", puppet.BROKER, *options, "-E", "-u", "-f", "= %p %o %s\\n", "-G", settings["group"],
             settings["topic"]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        for line in self.process.stdout:
            if line.startswith("= "):
                _, partition, offset, value = line.split()
                self.read(partition, offset, value.encode())
            elif line.startswith("% Group ") and " rebalanced" in line:
                partitions = map(int, re.findall(r" \[(\d+)\]", line))
                (self.taken if "revo" in line or "unassign" in line else self.given)(partitions)

    def turn(self):
        time.sleep(0.05)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.reader.join()


def administer(verb, *_):
    raise NotImplementedError(verb)


if __name__ == "__main__":
    puppet.run(Member, administer, lambda error: None, "range", "roundrobin", "cooperative-sticky", "static", "auto")
