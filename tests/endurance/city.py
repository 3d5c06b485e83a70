"""The city of the story: who reports how often, and how the gateway is set up for it."""

import os

from endurance.board import QUOTA_MIB

HOURS = int(os.environ.get("LAMPPOST_WEEK_HOURS", "168"))
SPEED = int(os.environ.get("LAMPPOST_WEEK_SPEED", "200"))
PEACE_S = 25
"""In which all start and connect, before time is fast."""
LINGER_S = 10
PARTITIONS = 4
DAY = HOURS * 3600 / 7
KEEP_S = round(HOURS * 3600 / 14)
"""Half a day of noise is of interest, if it is a whole week."""

# The outages, in simulated seconds since the beginning.
AWAY_FROM_S, AWAY_UNTIL_S = DAY, 4 * DAY
AGAIN_FROM_S, AGAIN_FOR_S = 5 * DAY + DAY / 6, DAY / 3
CAUGHT_UP = 3_000
"""Events behind, of some thousand that come in a real second."""
GATHERED_MIN = 3 * CAUGHT_UP
"""Events behind, of which there are at least so many when the brokers come back: of a short week the outage is a moment."""

# A board is looked at in peace for a quarter of a day, once it has settled; both in at least ten real seconds.
SETTLE_S = max(DAY / 12, 10 * SPEED)
LOOK_S = max(DAY / 4, 10 * SPEED)

# Devices, and the mean rate of each a second.
STREAMS = {"week-air": (16, 0.14), "week-traffic": (16, 0.15), "week-noise": (4, 0.085), "week-alarm": (4, 0.0005)}
CAMERAS, PICTURES_EACH, PICTURE_BYTES = 4, 4_500, 24_000
TOPICS = (*STREAMS, "week-camera")

CONFIG = f"""
[journal]
quota = "{QUOTA_MIB}MiB"
segment = "4MiB"
event_max = "64KiB"
linger = "{LINGER_S}s"

[mqtt.limits]
connect = "10min"
packet = "10min"

[[route]]
from = "city/{{kind}}/{{device}}"
topic = "week-{{kind}}"

[topics.week-air]
[topics.week-traffic]
priority = "bulk"
[topics.week-noise]
priority = "bulk"
keep_for = "{KEEP_S}s"
[topics.week-alarm]
priority = "alarm"
linger = "1s"
[topics.week-camera]
priority = "bulk"
when_full = "give-up-oldest"

# In simulated time: ample in real time.
[kafka.properties]
"socket.timeout.ms" = "300000"
"socket.max.fails" = "0"
"socket.connection.setup.timeout.ms" = "600000"
"request.timeout.ms" = "900000"
"reconnect.backoff.ms" = "60000"
"reconnect.backoff.max.ms" = "600000"
"retry.backoff.ms" = "10000"
"retry.backoff.max.ms" = "60000"
"topic.metadata.refresh.fast.interval.ms" = "60000"
"linger.ms" = "10000"
"statistics.interval.ms" = "600000"
"""
KAFKA = 'create_topics = true\nmanifest_every = "1h"'
