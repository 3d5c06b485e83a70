"""What the stories stand on: a Kafka cluster, the gateway as a process, senders with ledgers of their own, a judge."""
