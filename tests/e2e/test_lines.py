"""Devices that write lines: JSON of an ESP firmware, and NMEA 0183 with its columns. Each value arrives in Kafka as it was
written; what can't be decoded is a dead letter; the end of a line that was begun before is none."""

import json

from rig.reader import Reader
from rig.talker import Talker

LINES = 500

CONFIG = """
[[serial]]
name = "air"
port = "{air}"
protocol = "lines"
format = "json"
device_from = "/id"

[[serial.field]]
name = "pm2_5"
from = "/SDS011/PM2.5"
unit = "ug/m3"

[[serial.field]]
name = "temperature"
from = "/BME280/Temperature"
unit = "Cel"
optional = true

[[serial]]
name = "gnss"
port = "{gnss}"
protocol = "lines"
baud = 9600
format = "delimited"
separator = ","
skip = ["$GPGSV"]

[[serial.field]]
name = "altitude"
from = 10
unit = "m"

[[route]]
from = "lines/{{device}}/{{measure}}"
topic = "measured"
decode = "json"

[topics.measured]
partitions = 3
"""

# The example sentences of the NMEA 0183 reference: a position, satellites in view.
GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
GSV = b"$GPGSV,2,1,08,01,40,083,46,02,17,308,41,12,07,344,39,14,22,228,45*75\r\n"


def air(n: int) -> bytes:
    """As Tasmota writes it, with numbers that no float keeps."""
    return b'{"id":"lamp-%d","SDS011":{"PM2.5":%d.%02d0,"PM10":7.1},"BME280":{"Temperature":-0.%018d}}\n' % (
        n % 3,
        n,
        n % 100,
        n,
    )


def test_lines_arrive_as_they_were_written_and_what_is_none_is_a_dead_letter(cluster, gateway, ending):
    talkers = {"air": Talker(), "gnss": Talker()}
    for talker in talkers.values():
        ending(talker.close)
    post = gateway("lines", CONFIG.format(**{name: talker.port for name, talker in talkers.items()}))
    post.start()
    # The end of a line that was begun before the gateway listened.
    talkers["air"].say(b'2.5":99}}\n')
    talkers["gnss"].say(b"99,M,46.9,M,,*47\r\n")
    for n in range(LINES):
        talkers["air"].say(air(n))
    talkers["air"].say(b'{"id":"lamp-0","SDS011":{"PM2.5":"broken"}}\n')
    talkers["air"].say(b'{"id":"lamp-0","SDS011":{"PM2.5":77.0}}\n')
    talkers["gnss"].say(GGA + GSV + b"$GPRMC,cut\r\n" + GGA)

    reader = Reader(cluster.bootstrap, post.name, {"measured", "dead-letters"})
    ending(reader.close)
    expected = 2 * LINES + 1 + 2 + 2
    assert reader.read_until(lambda: len(reader.records) >= expected), f"{len(reader.records)} of {expected}"
    reader.read_to_end()
    assert len(reader.records) == expected

    dead = [record for record in reader.records if record.topic == "dead-letters"]
    measured = [record for record in reader.records if record.topic == "measured"]
    assert sorted(record.value for record in dead) == [b"$GPRMC,cut", b'{"id":"lamp-0","SDS011":{"PM2.5":"broken"}}']
    values = [record.value for record in measured]
    wanted = [b'{"measure":"altitude","value":545.4,"unit":"m"}'] * 2
    wanted.append(b'{"measure":"pm2_5","value":77.0,"unit":"ug/m3"}')
    for n in range(LINES):
        wanted.append(b'{"measure":"pm2_5","value":%d.%02d0,"unit":"ug/m3"}' % (n, n % 100))
        wanted.append(b'{"measure":"temperature","value":-0.%018d,"unit":"Cel"}' % n)
    assert sorted(values) == sorted(wanted)
    for lamp in range(3):
        mine = [r for r in measured if r.key == b"lamp-%d" % lamp and b"pm2_5" in r.value]
        whole = [int(json.loads(r.value)["value"]) for r in sorted(mine, key=lambda r: r.offset)]
        assert whole == [*range(lamp, LINES, 3), *([77] if lamp == 0 else [])], "out of order"

    figures = post.metrics()
    assert figures['lamppost_lines_partial_total{source="air"}'] == 1
    assert figures['lamppost_lines_skipped_total{source="gnss"}'] == 1
    assert figures['lamppost_lines_undecodable_total{source="gnss"}'] == 1
    assert figures['lamppost_serial_opens_total{source="air",protocol="lines"}'] == 1
