//! The durable MQTT front, with rumqttd's router behind it.
