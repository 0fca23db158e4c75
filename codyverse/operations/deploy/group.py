"""`flask deploy`: the group that every command of deployment hangs on."""

from __future__ import annotations

from codyverse.operations.commands import Group

group = Group("deploy", help="Write the balancer's configuration, and steer it while it runs.")
