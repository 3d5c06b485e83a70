"""Senders: real MQTT clients, each in a process of its own, with a ledger of their own.

Every sender is started with one argument, the path of a plan:

    {"host": "127.0.0.1", "port": 1883,
     "protocol": 5,                       MQTT version: 5, or 4 for 3.1.1
     "window": 16,                        publishes in flight on a connection
     "rate": 0,                           publishes a second on each connection; 0: as fast as they are acknowledged
     "payload_bytes": 0,                  payloads are filled up to this size
     "keepalive_s": 30, "flush_s": 0,     the latter: how long the ledger's fsync may wait
     "course": null,                      a city's day and night in simulated time (rig/course.py); paho's alone
     "ledger": PATH, "gauges": PATH,      see rig/ledger.py and rig/gauges.py
     "connections": [{"client": "dev-1", "address": "city/north/air/dev-1/pm", "topic": "air-quality", "key": "dev-1",
                      "events": 1000}]}   events 0: until SIGTERM

Each publishes with QoS 1, and again after a lost connection what was not acknowledged, with the same id. On SIGTERM a
sender makes nothing new, waits for the acknowledgements that it still misses, and ends with status 0.
"""
