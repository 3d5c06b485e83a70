"""Meters on one bus, answered by pymodbus: each value arrives in Kafka as the meter holds it, with Eastron's own register numbers as
the judge; a slave that is not there, one that refuses gaps, and one that answers with an exception hold up nobody."""

import json

from rig.meters import Meters
from rig.reader import Reader

CONFIG = """
[[serial]]
name = "meters"
port = "{port}"
protocol = "modbus"
timeout = "200ms"

[[serial.slave]]
id = 1
device = "main"
profile = "sdm630"
every = "1s"

[[serial.slave]]
id = 2
device = "lamp"
profile = "sdm120"
measures = ["voltage", "current", "power", "frequency", "import_energy"]
every = "500ms"

[[serial.slave]]
id = 3
device = "box"
every = "500ms"

[[serial.slave.register]]
name = "charge"
register = 0
type = "i32"
word_order = "little"
scale = 0.001
unit = "A"

[[serial.slave.register]]
name = "ticks"
register = 2
type = "u64"

[[serial.slave.register]]
name = "door"
register = 5
kind = "coil"

[[serial.slave.register]]
name = "none"
register = 99
type = "u16"

[[serial.slave]]
id = 9
device = "dead"
profile = "sdm120"
every = "100ms"

[[route]]
from = "modbus/{{device}}/{{measure}}"
topic = "energy"
decode = "json"

[topics.energy]
partitions = 3
"""

# Eastron's register numbers: 30001 is the first.
SDM630 = {
    "voltage_l1": (30001, "V"),
    "current_l3": (30011, "A"),
    "power_l2": (30015, "W"),
    "power": (30053, "W"),
    "power_factor": (30063, "/"),
    "frequency": (30071, "Hz"),
    "import_energy": (30073, "kWh"),
    "neutral_current": (30225, "A"),
    "energy": (30343, "kWh"),
    "reactive_energy_l3": (30381, "kvarh"),
}
SDM120 = {"voltage": 30001, "current": 30007, "power": 30013, "frequency": 30071, "import_energy": 30073}


def test_what_meters_measure_arrives_and_a_dead_one_holds_up_nobody(home, cluster, gateway, ending):
    meters = Meters(home)
    ending(meters.stop)
    post = gateway("modbus", CONFIG.format(port=meters.port))
    post.start()
    reader = Reader(cluster.bootstrap, post.name, {"energy", "dead-letters"})
    ending(reader.close)

    def values(device: str) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        for record in reader.records:
            if record.key == device.encode():
                found.setdefault(json.loads(record.value)["measure"], []).append(record.value)
        return found

    def enough() -> bool:
        return all(len(values(name).get(measure, [])) >= 3 for name, measure in
                   [("main", "reactive_energy_l3"), ("lamp", "import_energy"), ("box", "door")])

    assert reader.read_until(enough, limit_s=60), {name: values(name) for name in ("main", "lamp", "box")}
    assert not [record for record in reader.records if record.topic == "dead-letters"]
    main, lamp, box = values("main"), values("lamp"), values("box")
    for measure, (number, unit) in SDM630.items():
        wanted = f'{{"measure":"{measure}","value":{number - 30001}.5,"unit":"{unit}"}}'.encode()
        assert set(main[measure]) == {wanted}
    assert {measure: json.loads(found[0])["value"] for measure, found in lamp.items()} == {
        measure: number - 30001 + 0.5 for measure, number in SDM120.items()
    }
    assert set(box["charge"]) == {b'{"measure":"charge","value":-123.456,"unit":"A"}'}
    assert set(box["ticks"]) == {b'{"measure":"ticks","value":9223372036854775809}'}
    assert set(box["door"]) == {b'{"measure":"door","value":true}'}
    assert "none" not in box and not values("dead")

    figures = post.metrics()

    def figure(name: str, device: str) -> float:
        return figures[f'lamppost_modbus_{name}_total{{source="meters",device="{device}"}}']

    assert figure("exceptions", "main") == 0 and figure("errors", "main") == 0
    # Once, for the gap between its registers; then it is asked without.
    assert figure("exceptions", "lamp") == 1
    # The register that it does not have, at each poll.
    assert figure("exceptions", "box") >= 3
    # Due ten times as often as `main`, and asked less often.
    assert 1 <= figure("polls", "dead") <= figure("polls", "main") + 5
    log = post.log.read_text()
    assert "slave 3 (box), function 3, holding register 99: exception 2 (Illegal data address)" in log
    assert "slave 9 (dead), function 4, input register 0" in log and "no answer within 200ms" in log
