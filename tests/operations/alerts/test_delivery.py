"""Messages are sent in order, again and again while nobody takes them, and by another process when one ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from codyverse.operations.alerts.channels import Refused, Undelivered
from codyverse.operations.alerts.delivery import GIVEN_UP_S, LATEST_AGAIN_S, MOST_REFUSALS, Delivery, again_s
from codyverse.operations.alerts.messages import Message, Sender
from codyverse.operations.alerts.store import Change, Store
from codyverse.operations.journal import NAME, Journal
from tests.server import wait_until

START = 1_800_000_000.0


class Channel:
    """Takes messages, unless it is told what to raise."""

    def __init__(self, name: str = "webhook") -> None:
        self.name = name
        self.taken: list[str] = []
        self.tried = 0
        self.error: Exception | None = None

    def send(self, message: Message, now: float) -> None:
        self.tried += 1
        if self.error:
            raise self.error
        self.taken.append(message.key)


class Outbox:
    """A journal with messages, and the delivery of one process."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.channel = Channel()
        self.counts: Counter[str] = Counter()
        self.store = Store(Journal(folder / NAME))
        self.delivery = self.process(self.channel)

    def process(self, *channels: Channel) -> Delivery:
        return Delivery(self.store, channels, lambda name: self.counts.update([name]), lambda: self.now)

    def put(self, *keys: str, channel: str = "webhook") -> None:
        sender = Sender("here", "testing")
        messages = [(channel, sender.message(key, self.now, "QueueLong", "firing", 1, None)) for key in keys]
        self.store.save(Change({}, self.now, {}, 0, [], messages))

    def send(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.delivery.send_due()


@pytest.fixture
def outbox(tmp_path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path)
    yield outbox
    outbox.delivery.close()


def test_it_works(outbox):
    outbox.put("a", "b")
    outbox.send()
    outbox.send()
    assert outbox.channel.taken == ["a", "b"]
    assert outbox.counts == {"alerts:webhook:delivered": 2}


def test_what_fails_is_sent_again_at_growing_intervals_and_in_order(outbox):
    outbox.put("a", "b")
    outbox.channel.error = Undelivered("away")
    outbox.send()
    assert (outbox.channel.tried, outbox.store.undelivered()) == (1, 2)
    outbox.send(again_s(0) - 1)
    assert outbox.channel.tried == 1
    outbox.send(1)
    outbox.send(again_s(1) - 1)
    assert outbox.channel.tried == 2
    outbox.channel.error = None
    outbox.send(1)
    assert outbox.channel.taken == ["a", "b"]
    assert outbox.store.undelivered() == 0
    assert outbox.counts == {"alerts:webhook:failed": 2, "alerts:webhook:delivered": 2}


def test_intervals_grow_to_a_limit():
    assert [again_s(tries) for tries in (0, 1, 2, 5, 6, 1000)] == [5, 10, 20, 160, LATEST_AGAIN_S, LATEST_AGAIN_S]


def test_what_is_refused_keeps_nobody_back(outbox):
    outbox.put("a", "b")
    outbox.channel.error = Refused("answered 400")
    for _ in range(MOST_REFUSALS - 1):
        outbox.send(LATEST_AGAIN_S)
        assert outbox.counts["alerts:webhook:given-up"] == 0
    outbox.now += LATEST_AGAIN_S
    outbox.send()
    assert outbox.counts["alerts:webhook:given-up"] == 1
    outbox.channel.error = None
    outbox.send(LATEST_AGAIN_S)
    assert outbox.channel.taken == ["b"]


def test_what_is_too_old_is_given_up(outbox):
    outbox.put("a")
    outbox.channel.error = Undelivered("away")
    outbox.send(GIVEN_UP_S - 1)
    assert outbox.counts == {"alerts:webhook:failed": 1}
    outbox.send(LATEST_AGAIN_S)
    assert outbox.counts["alerts:webhook:given-up"] == 1
    assert outbox.store.next_message("webhook") is None


def test_a_process_that_ends_before_it_knows_leaves_the_message_to_another(outbox, tmp_path):
    """It may be sent twice, with one key."""

    class Killed(BaseException):
        pass

    class Dying(Channel):
        def send(self, message: Message, now: float) -> None:
            super().send(message, now)
            raise Killed

    outbox.put("a")
    dying = Dying()
    with pytest.raises(Killed):
        outbox.process(dying).send_due()
    outbox.send()
    assert dying.taken == outbox.channel.taken == ["a"]


def test_one_channel_does_not_wait_for_another(outbox):
    mail = Channel("email")
    outbox.put("a")
    outbox.put("a", channel="email")
    outbox.channel.error = Undelivered("away")
    outbox.process(outbox.channel, mail).send_due()
    assert mail.taken == ["a"]


def test_the_thread_sends_and_forgets_what_no_channel_is_there_for(outbox):
    outbox.put("old", channel="pager")
    outbox.put("a")
    outbox.delivery.start()
    wait_until(lambda: outbox.channel.taken == ["a"])
    wait_until(lambda: outbox.store.next_message("pager") is None)
