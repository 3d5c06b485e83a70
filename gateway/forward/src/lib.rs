//! From the journal to Kafka: in-flight window, delivery reports, retry without end.
