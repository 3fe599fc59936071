"""What members of consumer groups are put through, whatever library they are written in: see tests/clients/run.sh.

    run.py CLIENT [SCENARIO...] -- COMMAND...

COMMAND is a puppet of the client (stage.py says what that is). The broker is at BROKER. If BROKER_PID names a file, it
holds the pid of a broker that somebody restarts when it dies. Scenarios are groups and topics of their own, so they run
side by side, but for those that kill the broker. Each prints `ok NAME SECONDS` or `FAIL NAME REASON`.
"""
import concurrent.futures
import os
import sys
import time
import traceback

import cells
import stage
from stage import Group, Sender, say

# Kafka's numbers of the errors that are provoked here.
UNKNOWN_MEMBER_ID = 25
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69
GROUP_SUBSCRIBED_TO_TOPIC = 86


def two(it, name, **how):
    """A second member joins and leaves again; each record is read once, and each commit ends at the end."""
    group = Group(it, name)
    group.send(10)
    one = group.join("one", **how)
    group.share(one)
    group.read_up()
    another = group.join("two", **how)
    group.share(one, another)
    group.send(10)
    group.read_up()
    assert another.count(), "the second member has read nothing"
    another.leave()
    group.share(one)
    group.send(10)
    group.read_up()
    one.leave()
    group.account()
    group.ends_committed()


def five(it, name, **how):
    """Five join under load, one leaves, one dies; what the dead one had not committed is read again, nothing else."""
    group = Group(it, name)
    group.send(1)
    load = Sender(group)
    members = []
    doomed = it.puppet()
    for number in range(5):
        members.append(group.join(f"member-{number}", doomed if number == 1 else None, **how))
        group.share(*members)
    load = leave_under(load, group, members.pop(3))
    group.share(*members)
    load.stop()
    group.account()
    load = Sender(group)
    dead = members.pop(1)
    lost = list(dead.held)
    doomed.kill()
    group.share(*members)
    load.stop()
    group.account(again=lost)
    group.ends_committed()
    for member in members:
        member.leave()


def leave_under(load, group, member):
    """A member leaves under load, if its library can do that without dropping a record that it has taken."""
    if "clean" not in member.puppet.can:
        load.stop()
        group.read_up()
        member.leave()
        return Sender(group)
    member.leave()
    return load


def cooperative(it, name, **how):
    """Members that come and go take only their share; whoever stays goes on reading the rest."""
    group = Group(it, name)
    group.send(1)
    load = Sender(group)
    one = group.join("one", assignor="cooperative-sticky", **how)
    group.share(one)
    alone = len(one.holdings)
    another = group.join("two", assignor="cooperative-sticky", **how)
    group.share(one, another)
    third = group.join("three", assignor="cooperative-sticky", **how)
    group.share(one, another, third)
    settled = {m: set(m.held) for m in (one, another)}
    load = leave_under(load, group, third)
    group.share(one, another)
    for member, before in settled.items():
        assert before <= set(member.held), f"{member.name} had {before} and has {set(member.held)}"
    assert all(len(held) >= 2 for held in one.holdings[alone:]), f"the first member held {one.holdings}"
    load.stop()
    group.account()
    group.ends_committed()
    one.leave()
    another.leave()


def static(it, name, **how):
    """A static member that is back within its session has its partitions again, and nobody else notices.

    By the older protocol it may have died meanwhile; by the newer one its name is free only when it has left.
    """
    group = Group(it, name)
    group.send(5)
    homes, members = [], []
    for number in range(2):
        homes.append(it.puppet())
        members.append(group.join(f"member-{number}", homes[number], instance=f"i{number}", session=20_000, **how))
    group.share(*members)
    group.read_up()
    # The leader of the group is one of the two.
    for number in range(2):
        here, other = members[number], members[1 - number]
        mine, quiet = set(here.held), len(other.holdings)
        # To start one may take longer than a session.
        next_home = it.puppet()
        if "protocol" in how:
            here.leave()
        homes[number].kill()
        here.held.clear()
        group.send(5)
        homes[number] = next_home
        members[number] = group.join(
            f"member-{number}-again", homes[number], instance=f"i{number}", session=20_000, **how
        )
        group.share(members[number], other)
        assert set(members[number].held) == mine, f"{members[number].held} instead of {mine}"
        group.read_up()
        assert len(other.holdings) == quiet, f"the other member was rebalanced: {other.holdings}"
    group.account(again=range(6))
    group.ends_committed()


def migrate(it, name):
    """The members of a group change over to the newer protocol one by one, and back: each record is read once."""
    group = Group(it, name)
    members = []
    for comes, how in enumerate([{}, {}, NEWER, NEWER, {}, {}]):
        members.append(group.join(f"member-{comes}", **how))
        group.share(*members)
        if len(members) > 2:
            group.read_up()
            members.pop(0).leave()
            group.share(*members)
        group.send(10)
        group.read_up()
    assert all(member.count() for member in members), "somebody has read nothing"
    for member in members:
        member.leave()
    group.account()
    group.ends_committed()


def commits(it, name, **how):
    """Where a group begins without commits, and with them, in every way in which the library commits."""
    can = it.shared.can
    group = Group(it, name, partitions=1)
    group.send(30)

    def reads(who, first, commit):
        """A member that reads from there to the end."""
        member = group.join(who, commit=commit, **how)
        read_all = lambda: read_by(member) == list(range(first, group.sent[0]))
        group.until(f"{who} has read from {first} to the end", read_all)
        return member

    if "none" in can:
        reads("uncommitted", 0, commit="none").leave()
        assert group.committed() == {}, group.committed()
    if "commit" in can:
        member = reads("uncommitted-again", 0, commit="none")
        assert member.ask("commit", 0, 10, "with-words") == ["did"]
        assert member.ask("committed", 0) == ["did", "10", "with-words"]
        member.leave()
        member = reads("from-ten", 10, commit="none")
        assert member.ask("commit", 0, 20, "") == ["did"]
        member.leave()
        reads("from-twenty", 20, commit="none").leave()
    for commit in ("each", "async", "auto"):
        if commit in can:
            expected = group.committed().get(0, 0)
            member = reads(f"by-{commit}", expected, commit=commit)
            group.send(10)
            group.until(f"{commit} reads on", lambda member=member: group.sent[0] - 1 in read_by(member))
            member.leave()
            assert group.committed() == {0: group.sent[0]}, f"{commit}: {group.committed()} of {group.sent}"
    group.close()
    late = Group(it, f"{name}-latest", partitions=1)
    late.send(5)
    member = late.join("latest", reset="latest", **how)
    late.share(member)
    # It has the partition before it knows where that ends.
    deadline = time.monotonic() + stage.PATIENCE
    while not member.count():
        assert time.monotonic() < deadline, "nothing new is read"
        late.send(1)
        time.sleep(0.1)
    assert min(read_by(member)) >= 5, f"what was there before is read: {read_by(member)}"
    member.leave()
    late.close()


def read_by(member):
    return [o for t in member.tenancies for o in t.offsets]


def admin(it, name, **how):
    """Groups are listed and described; offsets are changed and deleted once nobody is in the way; groups go away."""
    can = it.shared.can
    group = Group(it, name, watched=False)

    def refused(code, *question):
        # Some libraries look first whether somebody is in the way, and have no number for it.
        told = group.admin(*question)
        assert told in (["refused", f"{code}"], ["refused", "unasked"]), f"{question}: {told} instead of {code}"

    def done(*question):
        told = group.admin(*question)
        assert told == ["did"], f"{question}: {told}"

    group.send(5)
    member = group.join("one", **how)
    group.share(member)
    group.read_up()
    wait_for(lambda: group.committed() == dict.fromkeys(range(6), 5), "all is committed")
    if "groups" in can:
        assert name in group.admin("groups"), "it is not listed"
    if "describe" in can:
        told = group.admin("describe")
        assert told[1] == "Stable" and told[3] == "1", told
        # The last name is that of kafkajs.
        assert told[2] in (["uniform"] if "protocol" in how else ["range", "RoundRobinAssigner"]), told
    if "offsets" in can:
        # Some libraries leave a text of their own.
        assert {p: at.split(":")[0] for p, at in offsets(group).items()} == dict.fromkeys(range(6), "5"), offsets(group)
    if "alter" in can:
        refused(UNKNOWN_MEMBER_ID, "alter", group.topic, "0=1")
    if "forget" in can:
        refused(GROUP_SUBSCRIBED_TO_TOPIC, "forget", group.topic, 0)
    if "delete" in can:
        refused(NON_EMPTY_GROUP, "delete")
    member.leave()
    if "describe" in can:
        wait_for(lambda: group.admin("describe")[1] == "Empty" and group.admin("describe")[-1] == "0", "it is empty")
    if "alter" in can:
        done("alter", group.topic, "0=1", "3=4")
        assert group.committed() == {0: 1, 1: 5, 2: 5, 3: 4, 4: 5, 5: 5}, group.committed()
    if "forget" in can:
        done("forget", group.topic, 0)
        assert 0 not in group.committed() and group.committed()[1] == 5, group.committed()
    if "delete" in can:
        done("delete")
        assert group.committed() == {}, group.committed()
        refused(GROUP_ID_NOT_FOUND, "delete")
        assert "groups" not in can or name not in group.admin("groups"), "it is still listed"


def offsets(group):
    """Partition and offset:text as the client's administrator tells them."""
    told = group.admin("offsets", group.topic)
    assert told[0] == "did", told
    return {int(p): rest for p, _, rest in (word.partition("=") for word in told[1:])}


def wait_for(question, what):
    deadline = time.monotonic() + stage.PATIENCE
    while not question():
        assert time.monotonic() < deadline, f"not: {what}"
        time.sleep(0.1)


def crash(it, name, **how):
    """The broker is killed under load: everything is read, what was committed stays, and no commit goes back."""
    group = Group(it, name)
    group.send(20)
    load = Sender(group)
    members = []
    for who in ("one", "two"):
        members.append(group.join(who, **how))
        group.share(*members)
    group.until("some is read", lambda: sum(m.count() for m in members) > 200)
    stage.kill_broker()
    before = sum(group.sent)
    group.until("sending goes on", lambda: sum(group.sent) > before + 200)
    load.stop()
    group.read_up()
    group.share(*members)
    group.account(again=range(6))
    group.ends_committed()
    for member in members:
        member.leave()


# Clients whose scenarios do not run side by side. A member of kafka-python 3.0 may miss the answer to its SyncGroup for
# good when the threads of its process are busy.
ONE_BY_ONE = ["kafka-python"]
NEWER = {"protocol": "consumer"}
# Name, what is run, what the library must be able to do, how members join.
SCENARIOS = [
    ("group-two", two, set(), {}),
    ("group-five", five, {"roundrobin"}, {"assignor": "roundrobin"}),
    ("group-cooperative", cooperative, {"cooperative-sticky"}, {}),
    ("group-static", static, {"static"}, {}),
    ("group-commits", commits, set(), {}),
    ("group-admin", admin, {"groups"}, {}),
    ("group-crash", crash, set(), {}),
    ("group848-two", two, {"consumer"}, NEWER),
    ("group848-five", five, {"consumer"}, NEWER),
    ("group848-static", static, {"consumer", "static"}, NEWER),
    ("group848-migrate", migrate, {"consumer"}, {}),
    ("group848-commits", commits, {"consumer"}, NEWER),
    ("group848-admin", admin, {"consumer"}, NEWER),
    ("group848-crash", crash, {"consumer"}, NEWER),
]


def attempt(it, client, name, scenario, how):
    """Runs a scenario; whether it went well."""
    begun = time.monotonic()
    try:
        scenario(it, f"{client}-{name}-{os.getpid()}", **how)
    except Exception as error:  # any failure at all is one line
        steps = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == __file__]
        words = f"{error!r}".replace("\n", " ")
        say(f"FAIL {name} run.py:{steps[-1].lineno}: {words}"[:3000])
        return False
    say(f"ok {name} {time.monotonic() - begun:.1f}")
    return True


def main():
    client, *wanted = sys.argv[1 : sys.argv.index("--")]
    command = sys.argv[sys.argv.index("--") + 1 :]
    it = stage.Stage(command)
    chosen = [
        row for row in SCENARIOS
        if row[2] <= it.shared.can and (row[0] in wanted or not wanted)
        and (stage.BROKER_PID or "crash" not in row[0])
    ]
    fine = []
    try:
        alone = [row for row in chosen if "crash" in row[0] or client in ONE_BY_ONE]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            beside = [row for row in chosen if row not in alone]
            runs = [pool.submit(attempt, it, client, name, what, how) for name, what, _, how in beside]
            fine += [run.result() for run in runs]
        fine += [attempt(it, client, name, what, how) for name, what, _, how in alone]
        if client == "confluent" and (not wanted or "cells" in wanted):
            fine.append(attempt(it, client, "cells", cells.scenario, {}))
    finally:
        it.close()
    say("done")
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
