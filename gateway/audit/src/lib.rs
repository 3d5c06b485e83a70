//! The independent judge: reads the cluster and the senders' ledgers and says what is lost, doubled or out of order.
