"""Each flag off and on is tested beside its part; here, that `/health` tells the truth about all of them."""

import selectors
import socket
from dataclasses import fields

import pytest
from gunicorn.config import Config

from codyverse import create_app
from codyverse.operations import components
from codyverse.server import worker
from codyverse.server.acceptor import Acceptor
from codyverse.server.access_log import Logger
from codyverse.server.front import NAME
from codyverse.server.shares import Shares
from config import Settings
from tests.conftest import make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

FLAGS = [field.name for field in fields(Settings) if field.name.startswith("feature_")]


def test_it_works(client):
    assert client.get("/health").json["features"] == dict.fromkeys(
        ["security", "rateLimit", "compression", "caching", "circuitBreaker", "optimization", "monitoring", "loadBalancing"],
        True,
    )


@pytest.mark.parametrize("flag", FLAGS)
def test_each_one_is_shown_off_and_the_service_works(flag, database_url, tmp_path):
    app = create_app(make_settings(tmp_path, database_url, **{flag: False}))
    client = app.test_client()
    assert list(client.get("/health").json["features"].values()).count(False) == 1
    assert client.get("/api/v1/courses").status_code == 200
    assert client.get("/").status_code == 200
    app.extensions["codyverse.database"].close()


class Begun(Exception):
    """The worker would accept connections now."""


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("on", "slot"), [(True, 3), (False, None)])
def test_without_load_balancing_a_worker_keeps_to_no_share(database_url, tmp_path, monkeypatch, on, slot):
    app = create_app(make_settings(tmp_path, database_url, feature_load_balancing=on))
    slots = []

    def begin(listeners, poller, most, shares, slot, take):
        slots.append(slot)
        raise Begun

    monkeypatch.setattr(worker, "Acceptor", begin)
    serving = worker.Worker(0, 0, [], app, 30, Config(), Logger(Config()))
    serving.tmp.close()
    serving.front, serving.slot, serving.poller = app.extensions[NAME], 3, None
    with pytest.raises(Begun):
        serving.run()
    assert slots == [slot]
    components.of(app).close()


@pytest.mark.parametrize(("slot", "accepted"), [(0, 0), (None, 1)])
def test_who_keeps_to_no_share_accepts_what_is_somebody_elses(slot, accepted):
    shares = Shares()
    shares.publish(1, 0)  # another worker, which holds nothing
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as listener, selectors.DefaultSelector() as poller:
        acceptor = Acceptor([listener], poller, 10, shares, slot, lambda *found: taken.append(found[0]))
        acceptor.held = 5
        acceptor.open()
        with socket.create_connection(listener.getsockname()):
            [(key, _)] = poller.select(30)
            key.data(listener)
        assert len(taken) == accepted
        for each in taken:
            each.close()
