"""Shows 7: whatever happens, in whatever order, nothing outdated is taken for fresh, and no tier holds more than it is to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codyverse.operations.cache.generations import LAPSES_S
from codyverse.operations.cache.reading import reading
from tests.operations.cache.made import SourceAway, Wall, make

MOST_IN_PROCESS, MOST_ON_HOST = 3, 6
PROCESSES = st.integers(0, 1)
KEYS = st.integers(0, 9)
TAGS = 3  # key k has the tag k % 3


class Truth(RuleBasedStateMachine):
    """Two processes of a host, and a source whose values are numbers that only grow."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.wall = Wall()
        self.monotonic_ns = 10**15
        limits = {"cache_process_entries": MOST_IN_PROCESS, "cache_host_entries": MOST_ON_HOST}
        self.caches = [make(Path(self.folder.name), self.wall, **limits)[0] for _ in range(2)]
        for cache in self.caches:
            cache._generations._now = lambda: self.monotonic_ns
            cache._parts.background.do = lambda key, job: job()  # at once, so that runs can be repeated
        self.version = [0] * TAGS  # what the source holds
        self.away = False

    def teardown(self):
        if hasattr(self, "caches"):
            for cache in self.caches:
                cache.close()
            self.folder.cleanup()

    def read(self, process, key, in_between=lambda: None):
        tag = key % TAGS
        before = self.version[tag]

        def load():
            if self.away:
                raise SourceAway
            value = self.version[tag]
            in_between()
            return value

        with reading() as noted:
            try:
                found = self.caches[process].cached(f"k{key}", load, [f"t{tag}"])
            except SourceAway:
                assert self.away
                return
        if noted.outdated_s is None:
            assert found >= before
        else:
            assert self.away
            assert noted.outdated_s >= 0

    @rule(process=PROCESSES, key=KEYS)
    def is_read(self, process, key):
        self.read(process, key)

    @rule(process=PROCESSES, writer=PROCESSES, key=KEYS)
    def is_read_while_it_changes(self, process, writer, key):
        self.read(process, key, lambda: self.changes(writer, key % TAGS))

    @rule(process=PROCESSES, tag=st.integers(0, TAGS - 1))
    def changes(self, process, tag):
        changes = self.caches[process]._parts.changes
        changes.begin([f"t{tag}"])
        self.version[tag] += 1
        changes.end([f"t{tag}"])

    @rule(process=PROCESSES, tag=st.integers(0, TAGS - 1), committed=st.booleans(), key=KEYS)
    def is_read_before_a_writer_is_killed(self, process, tag, committed, key):
        self.caches[process]._parts.changes.begin([f"t{tag}"])
        self.read(process, key)
        self.version[tag] += committed

    @rule(process=PROCESSES, key=KEYS)
    def is_set_and_got(self, process, key):
        self.caches[process].set(f"own{key}", b"%d" % self.wall.now)
        found = self.caches[1 - process].get(f"own{key}")
        assert found is None or found.value() == int(self.wall.now)

    @rule(process=PROCESSES)
    def everything_is_cleared(self, process):
        self.caches[process].clear()

    @rule(seconds=st.sampled_from([1, int(LAPSES_S) + 1, 300, 400, 1800, 4000]))
    def time_passes(self, seconds):
        self.wall.now += seconds
        self.monotonic_ns += seconds * 10**9

    @rule(away=st.booleans())
    def source_goes_or_comes(self, away):
        self.away = away

    @invariant()
    def caps_hold(self):
        for cache in getattr(self, "caches", ()):
            assert cache._parts.process.size().entries <= MOST_IN_PROCESS
            assert cache._parts.host.size().entries <= MOST_ON_HOST


TestTruth = Truth.TestCase
TestTruth.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
